//! The media server's side, as the real program.

mod configurations;
mod hook_edge;
mod hook_scene;
mod hooks_mediamtx;
mod hooks_refused;
mod hooks_srs;
mod stub_api;
