use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use sluice::layers::FutureWrapper;
use tokio::{
    task::coop::{has_budget_remaining, poll_proceed},
    time::{Sleep, sleep},
};

/// Delays futures at random at each of their awaits. A clone shares the random numbers.
///
/// A future goes on through awaits that are ready, up to the budget of tokio's cooperative
/// scheduling. Here it has one unit of that budget: it is polled for each lock, message, timer, and
/// piece of I/O, and may be delayed before each poll.
#[derive(Debug, Clone)]
pub struct AwaitDelays {
    /// The state of the random numbers (SplitMix64).
    random: Arc<AtomicU64>,
}

impl AwaitDelays {
    /// The delays of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Arc::new(seed.into()),
        }
    }

    /// The delay before the next poll: mostly none, mostly a short one otherwise.
    fn next(&self) -> Option<Duration> {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.random.fetch_add(STEP, Ordering::Relaxed);
        let state = state.wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let random = mixed ^ (mixed >> 31);
        let longest = match random % 512 {
            0 => 300,
            1..64 => 10,
            _ => return None,
        };
        Some(Duration::from_millis((random >> 32) % longest + 1))
    }
}

impl FutureWrapper for AwaitDelays {
    type Wrapped<F: Future + Send> = Delayed<F>;

    fn wrap<F: Future + Send>(&self, future: F) -> Delayed<F> {
        Delayed {
            future,
            delays: self.clone(),
            delay: None,
        }
    }
}

pin_project! {
    /// A future that is delayed at its awaits.
    pub struct Delayed<F> {
        #[pin]
        future: F,
        delays: AwaitDelays,
        // The delay that runs.
        delay: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Delayed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.delay.is_none() {
            *this.delay = this.delays.next().map(|delay| Box::pin(sleep(delay)));
        }
        if let Some(delay) = this.delay {
            ready!(delay.as_mut().poll(cx));
            *this.delay = None;
        }
        leave_one_unit(cx);
        this.future.poll(cx)
    }
}

/// Uses up the budget of the task, except one unit.
fn leave_one_unit(cx: &mut Context<'_>) {
    // More than the budget of a poll.
    for _ in 0..1000 {
        let Poll::Ready(unit) = poll_proceed(cx) else {
            return;
        };
        if !has_budget_remaining() {
            // Gives it back.
            return drop(unit);
        }
        unit.made_progress();
    }
    panic!("it is polled without a budget");
}

#[tokio::test]
async fn a_future_is_polled_for_each_await_and_may_be_delayed_there() {
    const AWAITS: usize = 100;
    let lock = tokio::sync::Mutex::new(());
    let delays = AwaitDelays::new(7);
    let waits = async {
        for _ in 0..AWAITS {
            drop(lock.lock().await);
        }
    };
    delays.wrap(waits).await;

    // Each poll takes a random number.
    let mut polls = 0;
    let replayed = AwaitDelays::new(7);
    while replayed.random.load(Ordering::Relaxed) != delays.random.load(Ordering::Relaxed) {
        replayed.next();
        polls += 1;
    }
    assert!(polls >= AWAITS, "{polls}");
}
