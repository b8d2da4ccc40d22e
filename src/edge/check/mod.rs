//! `sluice edge check`: tests what an edge needs, and explains each failure with its fix.
//!
//! It uses the same clients as the edge. It changes nothing but what a test publisher with a
//! random stream key does, which is refused.

mod checks;
mod control_plane;
mod edge_check;
mod ffmpeg;
mod hooks;

pub use edge_check::{CheckResult, EdgeCheck};
pub(super) use ffmpeg::exists as program_exists;
