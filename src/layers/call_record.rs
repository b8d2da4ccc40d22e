use std::time::{Duration, Instant};

use http::HeaderValue;
use tonic::Code;
use tracing::Span;

use crate::telemetry::{metrics::CallMetrics, traces::CallTrace};

/// A call that runs. Dropped at its end, it counts and logs the call.
#[derive(Debug)]
pub struct CallRecord {
    pub(super) span: Span,
    pub(super) request_id: HeaderValue,
    pub(super) metrics: &'static CallMetrics,
    pub(super) started_at: Instant,
    /// The duration from which a successful call is logged as slow.
    pub(super) slow_threshold: Duration,
    pub(super) code: Option<Code>,
    /// Whether it is a call of `sluice.v1`.
    pub(super) is_ours: bool,
    /// Whether it was refused because of overload.
    pub(super) is_shed: bool,
    pub(super) trace: Option<CallTrace>,
}

impl CallRecord {
    /// Counts the messages in a frame that is sent: each has a prefix of five bytes.
    pub(super) fn count_sent(&self, data: &[u8]) {
        let (mut rest, mut messages) = (data, 0);
        while let [_, a, b, c, d, after @ ..] = rest {
            messages += 1;
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            rest = after.get(length..).unwrap_or_default();
        }
        self.metrics.sent(messages);
    }

    /// Logs successful calls at debug level, because they are the most, and failures that
    /// are the server's fault as warnings.
    fn log(&self, code: Code, duration: Duration) {
        let duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3;
        let span = &self.span;
        let is_slow = duration > self.slow_threshold && self.metrics.is_unary();
        match code {
            // Health checks and reflection would flood the log.
            _ if !self.is_ours => {
                tracing::debug!(target: "sluice::probes", parent: span, ?code, duration_ms, "call");
            }
            // These come by thousands; one line a second counts them.
            _ if self.is_shed => {
                tracing::debug!(target: "sluice::calls", parent: span, ?code, duration_ms, "call")
            }
            Code::Ok if is_slow => {
                tracing::info!(target: "sluice::calls", parent: span, ?code, duration_ms, slow = true, "call");
            }
            Code::Ok => {
                tracing::debug!(target: "sluice::calls", parent: span, ?code, duration_ms, "call")
            }
            Code::Unknown
            | Code::Internal
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::DataLoss => {
                tracing::warn!(target: "sluice::calls", parent: span, ?code, duration_ms, "call");
            }
            _ => tracing::info!(target: "sluice::calls", parent: span, ?code, duration_ms, "call"),
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        // A caller that disconnects leaves no code: its call is CANCELLED.
        let code = self.code.unwrap_or(Code::Cancelled);
        let duration = self.started_at.elapsed();
        self.metrics.handled(code, duration);
        if let Some(trace) = self.trace.take() {
            trace.end(code);
        }
        self.log(code, duration);
    }
}
