//! Real media: a control plane, an edge, nginx-rtmp, publishers and destinations.

mod owner;
mod stage;
mod watchman;

pub use owner::Owner;
pub use stage::{Scene, soon};
