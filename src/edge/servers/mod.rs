//! Clients of the media servers' HTTP APIs: list and disconnect publishers.
//!
//! No text of an answer is logged or passed on, as the answers hold stream keys.

mod boot_id;
mod http_api;
#[cfg(test)]
mod http_api_tests;
mod media_mtx;
mod media_mtx_api;
mod media_server;
mod nginx_applications;
mod nginx_connections;
mod nginx_rtmp;
mod nginx_stat;
mod srs;
mod srs_api;
mod state_file;

pub(super) use media_mtx::MediaMtx;
pub(super) use media_server::MediaServer;
pub(super) use nginx_connections::PublicName;
pub(super) use nginx_rtmp::{NginxRtmp, PublishLookup};
pub(super) use srs::Srs;
