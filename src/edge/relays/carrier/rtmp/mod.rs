//! RTMP: the commands of ffmpeg are rewritten on their way, media passes as it is.

mod amf;
mod carriage;
mod chunks;
mod far;
mod handshake;
mod local;
mod rewriter;
mod watcher;

pub(super) use carriage::Carriage;
#[cfg(test)]
pub(super) use far::trusting;
pub(super) use far::{Far, usual_roots};

#[cfg(test)]
mod tests;
