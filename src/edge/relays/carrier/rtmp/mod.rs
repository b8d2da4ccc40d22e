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
pub(super) use far::Far;

#[cfg(test)]
mod tests;
