//! Real programs around `sluice edge`: nginx-rtmp, publishers and destinations. The tests,
//! the demo and a bench stand on them.

#![allow(dead_code, unused_imports, reason = "each of them uses another part")]

mod child;
mod control_plane;
mod destination;
mod edge;
mod nginx;
mod picture;
mod place;
mod recording;

pub use child::Child;
pub use control_plane::ControlPlane;
pub use destination::Destination;
pub use edge::{Edge, HOOKS_SECRET};
pub use nginx::{Nginx, UPDATE};
pub use picture::Picture;
pub use place::Place;
