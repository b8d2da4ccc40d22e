//! The HTTP server for the hooks of the media server.
//!
//! | path | caller |
//! |---|---|
//! | `/hooks/nginx-rtmp/<secret>/{publish,publish_done,update}` | nginx-rtmp, with forms |
//! | `/hooks/mediamtx/<secret>/auth` | MediaMTX, with JSON |
//! | `/hooks/mediamtx/<secret>/{available,unavailable}` | a command that MediaMTX runs, with forms |
//! | `/hooks/srs/<secret>/{publish,unpublish}` | SRS, with JSON |
//! | `/livez` | liveness probes |
//!
//! No part of a request is logged, as each request holds stream keys.

mod form;
mod handler;
mod hook;
#[cfg(test)]
mod http_tests;
mod media_mtx;
mod nginx_rtmp;
mod probe;
mod srs;

pub(super) use handler::serve;
pub(super) use probe::{Arrived, HookProbe};
