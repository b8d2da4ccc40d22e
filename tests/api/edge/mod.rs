//! `sluice edge`: hooks in, relays out.

#[path = "../../media/mod.rs"]
mod media;

mod configurations;
mod control;
mod demo;
mod edge_settings;
mod hook_edge;
mod hook_scene;
mod hooks_mediamtx;
mod hooks_refused;
mod hooks_srs;
mod nginx_stub;
mod publishing;
mod publishing_scene;
mod real_media_outages;
mod real_media_publishing;
mod real_media_relays;
mod relay_edge;
mod relay_lives;
mod relay_outages;
mod relay_scene;
mod scene;
mod stub_api;
mod stub_ffmpeg;
