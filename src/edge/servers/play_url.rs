use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::Secret;

/// The characters that are percent-encoded in a path segment.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The URL from which relays read a stream: the server's URL, followed by these paths.
pub(super) fn play_url(rtmp_url: &str, paths: &[&str]) -> Secret {
    let segments = paths.iter().flat_map(|path| path.split('/'));
    let url = segments.fold(rtmp_url.to_owned(), |url, segment| {
        format!("{url}/{}", utf8_percent_encode(segment, ENCODED))
    });
    Secret::new(url)
}
