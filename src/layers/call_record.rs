use std::time::{Duration, Instant};

use tonic::Code;
use tracing::Span;

use crate::telemetry::{metrics::CallMetrics, traces::CallTrace};

/// A call that is not over. When it is dropped it is, and is counted and logged.
#[derive(Debug)]
pub(super) struct Call {
    pub span: Span,
    pub metrics: &'static CallMetrics,
    pub begun: Instant,
    /// From when on it is slow.
    pub slow: Duration,
    pub code: Option<Code>,
    pub is_ours: bool,
    /// Whether it was refused for there being too many.
    pub is_shed: bool,
    pub trace: Option<CallTrace>,
}

impl Call {
    /// Counts the messages in data that is sent: each has five bytes before it.
    pub fn sent(&self, data: &[u8]) {
        let (mut rest, mut messages) = (data, 0);
        while let [_, a, b, c, d, after @ ..] = rest {
            messages += 1;
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            rest = after.get(length..).unwrap_or_default();
        }
        self.metrics.sent(messages);
    }

    /// Well-behaved calls are the most and the dullest; one that is this server's
    /// fault is for who runs it.
    fn log(&self, code: Code, duration: Duration) {
        let duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3;
        let span = &self.span;
        let is_slow = duration > self.slow && self.metrics.is_unary();
        match code {
            // Health checks and reflection would drown the rest.
            _ if !self.is_ours => {
                tracing::debug!(target: "sluice::probes", parent: span, ?code, duration_ms, "call");
            }
            // They come in thousands, and are logged together.
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

impl Drop for Call {
    fn drop(&mut self) {
        // A caller that goes away leaves no code: that is what CANCELLED means.
        let code = self.code.unwrap_or(Code::Cancelled);
        let duration = self.begun.elapsed();
        self.metrics.handled(code, duration);
        if let Some(trace) = self.trace.take() {
            trace.end(code);
        }
        self.log(code, duration);
    }
}
