use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

/// How often it is measured whether this process runs.
const TICK: Duration = Duration::from_millis(20);

/// A tick may be later by this much on a machine that is not overloaded.
const NOISE: Duration = Duration::from_millis(10);

/// A time limit that begins with the acknowledgement of a call. Time in which this process, with the
/// servers in it, did not get to run does not count: so the limit does not depend on the speed of
/// the machine.
pub struct TimeLimit {
    limit: Duration,
    begun: Instant,
    stalled_millis: Arc<AtomicU64>,
    meter: JoinHandle<()>,
}

impl TimeLimit {
    /// A limit from now on.
    pub fn begin(limit: Duration) -> Self {
        let stalled_millis = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&stalled_millis);
        let meter = tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                sleep(TICK).await;
                let late = begun.elapsed().saturating_sub(TICK);
                if late > NOISE {
                    let late = u64::try_from(late.as_millis()).unwrap();
                    counter.fetch_add(late, Ordering::Relaxed);
                }
            }
        });
        Self {
            limit,
            begun: Instant::now(),
            stalled_millis,
            meter,
        }
    }

    /// Repeats a call until it returns a value. A call that begins after the limit must return one.
    #[track_caller]
    pub fn until<T>(
        &self,
        what: &'static str,
        mut call: impl AsyncFnMut() -> Option<T>,
    ) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                let is_over = self.is_over();
                if let Some(value) = call().await {
                    return value;
                }
                assert!(!is_over, "{caller}: not in time: {what}");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn is_over(&self) -> bool {
        let stalled = Duration::from_millis(self.stalled_millis.load(Ordering::Relaxed));
        self.begun.elapsed() > self.limit + stalled
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        self.meter.abort();
    }
}
