use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use hyper::{
    rt::Executor,
    server::conn::{http1, http2},
};
use hyper_util::rt::TokioTimer;

use super::{lifetime::ConnectionTimeouts, overload::Overload};

/// HTTP/2 with every limit of hyper set, none left to its default.
pub(super) fn http2(
    timeouts: &ConnectionTimeouts,
    executor: CallExecutor,
) -> http2::Builder<CallExecutor> {
    let mut http = http2::Builder::new(executor);
    http.timer(TokioTimer::new())
        // Concurrent calls of a connection.
        .max_concurrent_streams(100)
        // Calls reset before they were accepted (CVE-2023-44487): as many as may be open,
        // because they arrive in bursts during overload.
        .max_pending_accept_reset_streams(100)
        // Resets that a peer provokes from this server, in the life of the connection
        // (CVE-2025-8671, RUSTSEC-2024-0003). An honest peer provokes none.
        .max_local_error_reset_streams(128)
        // Room for a token and the headers of proxies; bounds CONTINUATION frames, too.
        .max_header_list_size(16 * 1024)
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
        .max_headers(64)
        .max_buf_size(16 * 1024);
    http
}

/// Runs each call of an HTTP/2 connection in its own task.
///
/// During overload it first polls the call in the task of the connection: a refused call
/// then needs no task, and its response leaves together with others. The waker of this
/// first poll does nothing, because a spawned task polls again.
#[derive(Debug, Clone)]
pub(super) struct CallExecutor {
    pub overload: Overload,
}

impl<F> Executor<F> for CallExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, call: F) {
        if !self.overload.is_active() {
            tokio::spawn(call);
            return;
        }
        let mut call: Pin<Box<F>> = Box::pin(call);
        let poll = || call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        // A panic ends this call alone, as it would in a task.
        let polled = catch_unwind(AssertUnwindSafe(poll));
        if polled.is_ok_and(|polled| polled.is_pending()) {
            tokio::spawn(call);
        }
    }
}
