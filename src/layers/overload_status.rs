//! The status of refused calls.
//!
//! A refusal takes time from other calls, so the statuses are built in advance, and all
//! refusals of a second share one log line.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tonic::Status;

use crate::{
    error::Error,
    telemetry::{Throttle, metrics::SERVER},
};

/// The range of retry delays of refused callers: spread, so that they do not all come back
/// at once.
const RETRY_DELAY_RANGE: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_millis(1500));

/// The number of different statuses: few enough that the HPACK tables of a connection keep
/// them all.
const STATUS_COUNT: u32 = 8;

/// The least time between two log lines about refused calls.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Refuses a call: counts it, logs it with others, and returns a status built in advance.
pub(super) fn overload_status() -> Status {
    static STATUSES: LazyLock<Vec<Status>> = LazyLock::new(|| {
        let (min, max) = RETRY_DELAY_RANGE;
        let step = (max - min) / STATUS_COUNT;
        (0..STATUS_COUNT)
            .map(|number| Error::Overloaded(min + step * number).into())
            .collect()
    });
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static THROTTLE: Mutex<Throttle> = Mutex::new(Throttle::new(LOG_INTERVAL));

    SERVER.calls_shed.inc();
    let refused = THROTTLE.lock().record();
    if let Some(refused) = refused {
        // Outside of the span of this call, because the line is about many calls.
        tracing::warn!(parent: None, refused, "calls are refused: there are too many at once");
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % STATUSES.len();
    STATUSES[number].clone()
}
