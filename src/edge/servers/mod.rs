//! The media server's own means: who publishes by its word, and how to disconnect.
//!
//! Nothing that an answer says in words goes on: stream keys stand in the answers.

mod api;
mod boot;
#[cfg(test)]
mod looks;
mod media_mtx;
mod media_mtx_answers;
mod nginx_applications;
mod nginx_connections;
mod nginx_rtmp;
mod nginx_stat;
mod public_name;
mod server;
mod srs;
mod srs_answers;
mod state_file;

pub(super) use media_mtx::MediaMtx;
pub(super) use nginx_rtmp::{Found, NginxRtmp};
pub(super) use public_name::PublicName;
pub(super) use server::MediaServer;
pub use server::ServerTerms;
pub(super) use srs::Srs;
