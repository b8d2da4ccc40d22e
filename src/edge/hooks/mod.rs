//! What the media server asks and tells over HTTP.

mod port;

pub(super) use port::serve;
