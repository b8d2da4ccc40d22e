use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How long a handshake is safe from eviction: honest peers may connect by thousands at
/// once, after a replica has stopped.
const MIN_HANDSHAKE_TIME: Duration = Duration::from_millis(500);

/// The connections whose handshake is not complete, up to a maximum.
///
/// Beyond the maximum the oldest is evicted, because an honest peer completes its handshake
/// in a moment. A peer that opens many silent connections thus evicts its own: it neither
/// uses up the permits of callers nor keeps new connections out. Until the oldest has had
/// [`MIN_HANDSHAKE_TIME`], new connections wait in the backlog of the system.
#[derive(Debug)]
pub(super) struct PendingHandshakes {
    max: usize,
    queue: Mutex<Queue>,
    completed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    next_number: u64,
    by_age: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// One pending handshake, until dropped.
#[derive(Debug)]
pub(super) struct PendingHandshake {
    number: u64,
    evicted: CancellationToken,
    all: Arc<PendingHandshakes>,
}

impl PendingHandshakes {
    /// Room for a number of handshakes, at least one.
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1) as usize,
            queue: Mutex::default(),
            completed: Notify::new(),
        })
    }

    /// Waits until there is room for one more, and evicts the oldest if necessary.
    pub async fn wait_for_room(&self) {
        while let Some(until) = self.make_room() {
            tokio::select! {
                () = self.completed.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Until when there can be no room; `None` if there is room now.
    fn make_room(&self) -> Option<Instant> {
        let mut queue = self.queue.lock();
        if queue.by_age.len() < self.max {
            return None;
        }
        let oldest = queue.by_age.first_entry()?;
        let until = oldest.get().0 + MIN_HANDSHAKE_TIME;
        if until > Instant::now() {
            return Some(until);
        }
        let (_, evicted) = oldest.remove();
        evicted.cancel();
        None
    }

    /// Adds a handshake that begins now.
    pub fn begin(self: &Arc<Self>) -> PendingHandshake {
        let evicted = CancellationToken::new();
        let mut queue = self.queue.lock();
        let number = queue.next_number;
        queue.next_number += 1;
        let entry = (Instant::now(), evicted.clone());
        queue.by_age.insert(number, entry);
        PendingHandshake {
            number,
            evicted,
            all: Arc::clone(self),
        }
    }
}

impl PendingHandshake {
    /// Waits until newer connections need the room.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        self.all.queue.lock().by_age.remove(&self.number);
        self.all.completed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{MIN_HANDSHAKE_TIME, PendingHandshakes};
    use tokio::time::Instant;

    #[tokio::test]
    async fn room_comes_from_evicting_the_oldest_after_its_time_or_from_a_completed_handshake() {
        let handshakes = PendingHandshakes::new(2);
        let (oldest, younger) = (handshakes.begin(), handshakes.begin());
        let begun = Instant::now();

        handshakes.wait_for_room().await;
        assert!(oldest.evicted.is_cancelled());
        assert!(begun.elapsed() >= MIN_HANDSHAKE_TIME / 2);
        let _third = handshakes.begin();
        drop(younger);
        handshakes.wait_for_room().await;
        drop(oldest);
        assert_eq!(handshakes.queue.lock().by_age.len(), 1);
    }
}
