//! Limits on the metadata of a call, and on the calls of its connection.
//!
//! HTTP itself could only reset the stream, close the connection or answer 431. Its own
//! limits are therefore higher, and a call above these gets a status with a reason.

use http::request::Parts;

use crate::{
    error::{Error, Result},
    telemetry::metrics::SERVER,
    transport::ConnectionCallsExceeded,
};

/// The maximum size of a call's metadata and path: room for a token and the headers of
/// proxies.
const MAX_METADATA_SIZE: usize = 16 * 1024;

/// What RFC 9113 section 6.5.2 adds to the name and the value of each header.
const HEADER_OVERHEAD: usize = 32;

/// Refuses a call with too much metadata, and a call above the limit of its connection.
pub(super) fn check(head: &Parts) -> Result<()> {
    if head.extensions.get::<ConnectionCallsExceeded>().is_some() {
        SERVER.connection_calls_refused();
        return Err(Error::TooManyConnectionCalls);
    }
    if metadata_size(head) > MAX_METADATA_SIZE {
        return Err(Error::MetadataTooLarge);
    }
    Ok(())
}

fn metadata_size(head: &Parts) -> usize {
    let path = head.uri.path_and_query();
    let headers = head.headers.iter();
    let sizes = headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD);
    path.map_or(0, |path| path.as_str().len()) + sizes.sum::<usize>()
}
