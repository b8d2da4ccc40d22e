//! Real media: a control plane, an edge, nginx-rtmp, publishers and destinations.

mod owner;
mod processes;
mod stage;
mod watchman;

pub use owner::Owner;
pub use processes::{is_ffmpeg, pids_of_relays};
pub use stage::{Scene, soon};
