//! `sluice edge`.

#[path = "../../media/mod.rs"]
mod media;

mod check_command;
mod control_plane;
mod demo;
pub mod hook_edge;
mod hook_fixture;
mod hooks_mediamtx;
mod hooks_refused;
mod hooks_srs;
mod media_server_configurations;
mod operations;
mod publishing;
mod publishing_fixture;
mod real_media;
mod relay_edge;
mod relay_fixture;
mod relay_moves;
mod relay_outages;
mod relay_processes;
mod settings;
pub mod stub_api;
mod stub_ffmpeg;
mod stub_nginx;
