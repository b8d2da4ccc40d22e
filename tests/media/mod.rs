//! Real programs around `sluice edge`: nginx-rtmp, publishers and destinations. The tests,
//! the demo and a bench stand on them.

#![allow(dead_code, reason = "each of them uses another part")]

mod child;
mod destination;
mod nginx;
mod picture;
mod place;
mod recording;

pub use child::Child;
pub use destination::Destination;
pub use nginx::{Nginx, UPDATE};
pub use picture::Picture;
pub use place::Place;
