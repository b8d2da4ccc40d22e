//! Relays between real programs: nginx-rtmp and ffmpeg.

mod delivery;
mod destination_checks;
mod destinations;
mod enhanced_rtmp;
mod hold;
mod hooks;
mod media_health;
mod media_identity;
mod proxy;
mod recordings;
mod rendition;
mod rig;
mod rtmp;
mod rtmps;
mod server;
mod srt;
mod srt_hold;
