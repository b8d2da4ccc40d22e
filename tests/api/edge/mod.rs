//! The media server's side, as the real program.

mod relay_edge;
mod relay_lives;
mod relay_outages;
mod relay_scene;
mod stub_ffmpeg;
