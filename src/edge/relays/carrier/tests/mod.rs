//! Real programs at both ends: ffmpeg here, nginx-rtmp or ffmpeg's SRT there.

mod hooks;
mod rig;
mod rtmp;
mod rtmps;
mod srt;
mod strangers;
