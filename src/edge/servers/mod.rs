//! Clients of the media servers' HTTP APIs: list and disconnect publishers.
//!
//! No text of an answer is logged or passed on, as the answers hold stream keys.

mod boot_id;
mod http_api;
#[cfg(test)]
mod http_api_tests;
mod media_mtx_api;
mod media_mtx_client;
mod media_server;
mod nginx_applications;
mod nginx_connections;
mod nginx_rtmp_client;
mod nginx_stat;
mod srs_api;
mod srs_client;

pub(super) use http_api::HttpApi;
pub(super) use media_mtx_client::MediaMtx;
pub(super) use media_server::MediaServer;
pub(super) use nginx_connections::PublicName;
pub(super) use nginx_rtmp_client::{NginxRtmp, PublishLookup};
pub(super) use srs_client::Srs;
