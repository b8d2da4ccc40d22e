use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How long a connection has in any case: honest ones may come thousands at once.
const MOMENT: Duration = Duration::from_millis(500);

/// The connections that have not shown yet what they speak.
///
/// There are only so many at a time. When one more is to come, the oldest has to go: a
/// peer that means it is ready in a moment, so whoever opens many and says nothing
/// crowds out his own, and neither takes the places of those who call nor keeps new ones
/// out. Until the oldest has had its moment, new ones wait where the system keeps them.
#[derive(Debug)]
pub(super) struct HalfOpen {
    most: usize,
    waiting: Mutex<Waiting>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// A connection among them, until dropped.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    crowded_out: CancellationToken,
    of: Arc<HalfOpen>,
}

impl HalfOpen {
    /// Room for so many.
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1) as usize,
            waiting: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Waits until there is room for one more, and makes it if need be.
    pub async fn room(&self) {
        while let Some(until) = self.make_room() {
            tokio::select! {
                () = self.left.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Until when there can be no room, if there is none.
    fn make_room(&self) -> Option<Instant> {
        let mut waiting = self.lock();
        if waiting.by_age.len() < self.most {
            return None;
        }
        let oldest = waiting.by_age.first_entry()?;
        let until = oldest.get().0 + MOMENT;
        if until > Instant::now() {
            return Some(until);
        }
        let (_, crowded_out) = oldest.remove();
        crowded_out.cancel();
        None
    }

    /// One more.
    pub fn enter(self: &Arc<Self>) -> Entry {
        let crowded_out = CancellationToken::new();
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        let since = (Instant::now(), crowded_out.clone());
        waiting.by_age.insert(number, since);
        Entry {
            number,
            crowded_out,
            of: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Waits until others need the room.
    pub async fn crowded_out(&self) {
        self.crowded_out.cancelled().await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.of.lock().by_age.remove(&self.number);
        self.of.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{HalfOpen, MOMENT};
    use tokio::time::Instant;

    #[tokio::test]
    async fn the_oldest_makes_room_after_its_moment_and_whoever_leaves_at_once() {
        let half_open = HalfOpen::new(2);
        let (oldest, younger) = (half_open.enter(), half_open.enter());
        let begun = Instant::now();

        half_open.room().await;
        assert!(oldest.crowded_out.is_cancelled());
        assert!(begun.elapsed() >= MOMENT / 2);
        let _third = half_open.enter();
        drop(younger);
        half_open.room().await;
        drop(oldest);
        assert_eq!(half_open.lock().by_age.len(), 1);
    }
}
