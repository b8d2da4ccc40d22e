//! The media server's side.

mod control;
mod edge_settings;
mod nginx_stub;
mod publishing;
mod publishing_scene;
