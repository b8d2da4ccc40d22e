//! `sluice edge` beside a media server.

#[path = "../../media/mod.rs"]
mod media;

mod demo;
mod real_media_outages;
mod real_media_publishing;
mod real_media_relays;
mod scene;
