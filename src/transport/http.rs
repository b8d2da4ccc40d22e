use std::{error::Error, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use super::lifetime::ConnectionTimeouts;

/// An HTTP service that the listener clones for each connection.
pub trait HttpService:
    Service<
        Request<Incoming>,
        Response = Response<Self::ResponseBody>,
        Error: Into<Box<dyn Error + Send + Sync>>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    type ResponseBody = B;
}

/// HTTP/2 with every limit of hyper set, none left to its default.
pub(super) fn http2(
    timeouts: &ConnectionTimeouts,
    max_streams: u32,
) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        // Concurrent calls of a connection: a client holds back those beyond.
        .max_concurrent_streams(max_streams)
        // Calls reset before they were accepted (CVE-2023-44487). They are accepted at once.
        .max_pending_accept_reset_streams(100)
        // Resets that a peer provokes from this server, in the life of the connection
        // (CVE-2025-8671, RUSTSEC-2024-0003). An honest peer provokes none.
        .max_local_error_reset_streams(128)
        // Above the limit of the layers, so that they answer. Beyond it h2 answers 431, and
        // ends the connection beyond four times that or ten CONTINUATION frames.
        .max_header_list_size(128 * 1024)
        // The minimum of RFC 9113.
        .max_frame_size(16 * 1024)
        // Unread bytes of a peer: a whole request of most services, and at most four
        // times that on a connection.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .adaptive_window(false)
        // Bytes of a call that wait for a peer that reads slowly.
        .max_send_buf_size(64 * 1024)
        // The HPACK table that a peer may fill: the default of RFC 9113.
        .header_table_size(4096)
        // PINGs detect peers that are gone.
        .keep_alive_interval(timeouts.keepalive_interval)
        .keep_alive_timeout(timeouts.keepalive_timeout);
    http
}

/// HTTP/1.1 for browsers, with similar limits.
pub(super) fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_headers(128)
        // Above the limit of the layers, so that they answer. Beyond it hyper answers 431.
        .max_buf_size(64 * 1024);
    http
}
