//! What the media server asks and tells over HTTP.
//!
//! | path | who calls it |
//! |---|---|
//! | `/hooks/nginx-rtmp/<secret>/{publish,publish_done,update}` | nginx-rtmp, in forms |
//! | `/hooks/mediamtx/<secret>/auth` | MediaMTX, in JSON |
//! | `/hooks/mediamtx/<secret>/{available,unavailable}` | a command that MediaMTX runs, in forms |
//! | `/hooks/srs/<secret>/{publish,unpublish}` | SRS, in JSON |
//! | `/livez` | whoever watches over the edge |
//!
//! Nothing of a request is logged: stream keys stand in all of them.

mod answer;
mod answering;
mod form;
mod hook;
mod media_mtx;
mod nginx_rtmp;
mod port;
mod refusal;
mod srs;
#[cfg(test)]
mod transcripts;

pub(super) use port::serve;
