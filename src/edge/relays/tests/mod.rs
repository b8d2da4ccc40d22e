//! Relays between real programs: nginx-rtmp and ffmpeg.

mod destinations;
mod hold;
mod hooks;
mod media_identity;
mod rig;
mod rtmp;
mod rtmps;
mod srt;
mod srt_hold;
