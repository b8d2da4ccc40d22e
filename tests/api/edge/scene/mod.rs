//! Real media: a control plane, an edge, nginx-rtmp, publishers and destinations.

mod owner;
mod processes;
mod stage;
mod watchman;

pub use owner::Owner;
pub use processes::{descendants, pids_of_relays, runs};
pub use stage::{Scene, soon};
