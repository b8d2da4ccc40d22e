use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::{executor::CallExecutor, lifetime::Times};

/// HTTP/2 with every limit that hyper has, none left to a default.
pub(super) fn http2(times: &Times, calls: CallExecutor) -> http2::Builder<CallExecutor> {
    let mut http = http2::Builder::new(calls);
    http.timer(TokioTimer::new())
        // Calls at once on a connection: many for a program, few beside all others'.
        .max_concurrent_streams(100)
        // Calls that were taken back before they were begun (CVE-2023-44487): all that may
        // be open, as under pressure they come in portions.
        .max_pending_accept_reset_streams(100)
        // Calls that a peer makes this server take back, as long as the connection
        // lives (CVE-2025-8671, RUSTSEC-2024-0003). Who means well makes it take back none.
        .max_local_error_reset_streams(128)
        // Room for a token and what proxies add; it bounds CONTINUATION frames, too.
        .max_header_list_size(16 * 1024)
        // The least that the standard allows.
        .max_frame_size(16 * 1024)
        // What a peer may send unread: a whole request of most services at once, and
        // never more than four such on a connection.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .adaptive_window(false)
        // What waits for a peer that reads slowly, a call.
        .max_send_buf_size(64 * 1024)
        // What a peer may make this server remember of headers, the standard's default.
        .header_table_size(4096)
        // Peers that are gone are noticed without being called.
        .keep_alive_interval(times.ping)
        .keep_alive_timeout(times.pong);
    http
}

/// HTTP/1.1, for browsers; as sparing.
pub(super) fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_headers(64)
        .max_buf_size(16 * 1024);
    http
}
