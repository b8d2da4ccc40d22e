//! How calls are refused of which there are too many: what that costs is taken from
//! those that are answered, so refusals are made beforehand, and logged all together.

use std::{
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tonic::Status;

use crate::{error::Error, telemetry::metrics::LIVE};

/// What refused callers wait at least, and at most: spread, so that they do not all come
/// back at once.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));

/// How many refusals there are, each with another wait: so few that both sides of a
/// connection keep them all in their tables of headers (HPACK).
const REFUSALS: u32 = 8;

/// How often it is logged that calls are refused.
const EVERY: Duration = Duration::from_secs(1);

/// A refusal that was made beforehand.
pub(super) fn refusal() -> Status {
    static MADE: LazyLock<Vec<Status>> = LazyLock::new(|| {
        let (least, most) = RETRY;
        let step = (most - least) / REFUSALS;
        (0..REFUSALS)
            .map(|number| Error::Overloaded(least + step * number).into())
            .collect()
    });
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    LIVE.calls_shed.inc();
    log();
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % MADE.len();
    MADE[number].clone()
}

/// Logs that calls are refused, once for all that are in a second, and how many were
/// since it was last logged.
fn log() {
    static LOGGED: Mutex<Option<(Instant, u64)>> = Mutex::new(None);

    // Whoever has it logs for all.
    let Ok(mut logged) = LOGGED.try_lock() else {
        return;
    };
    let all = LIVE.calls_shed.get();
    let (is_due, before) = match *logged {
        Some((at, before)) => (at.elapsed() >= EVERY, before),
        None => (true, 0),
    };
    if is_due {
        *logged = Some((Instant::now(), all));
        let refused = all - before;
        // None of them is what the line is about.
        tracing::warn!(parent: None, refused, "calls are refused: there are too many at once");
    }
}

/// In the extensions of an answer: this refused the call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shed;
