//! Real programs around `sluice edge`: nginx-rtmp, publishers and destinations. Tests, the demo
//! and a benchmark use them.

#![allow(dead_code, unused_imports, reason = "each user needs only a part")]

mod child;
mod control_plane;
mod destination;
mod edge;
mod nginx;
mod proxy;
mod publisher;
mod recording;
mod sandbox;

pub use child::{Child, program};
pub use control_plane::ControlPlane;
pub use destination::Destination;
pub use edge::{Edge, EdgeVariables, HOOKS_SECRET, settings as edge_settings};
pub use nginx::{Nginx, UPDATE_INTERVAL};
pub use proxy::Proxy;
pub use publisher::Publisher;
pub use sandbox::Sandbox;
