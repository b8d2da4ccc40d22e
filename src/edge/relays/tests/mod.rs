//! Relays between real programs: nginx-rtmp and ffmpeg.

mod destination_checks;
mod destinations;
mod hooks;
mod media_health;
mod media_identity;
mod rig;
mod rtmp;
mod rtmps;
mod srt;
