use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The connections that have not shown yet what they speak.
///
/// There are only so many at a time. When one more comes, the oldest has to go: a peer
/// that means it is ready in a moment, so whoever opens many and says nothing crowds out
/// his own, and neither takes the places of those who call nor keeps new ones out.
#[derive(Debug)]
pub(super) struct HalfOpen {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
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
        })
    }

    /// One more.
    pub fn enter(self: &Arc<Self>) -> Entry {
        let crowded_out = CancellationToken::new();
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, crowded_out.clone());
        if waiting.by_age.len() > self.most
            && let Some((_, oldest)) = waiting.by_age.pop_first()
        {
            oldest.cancel();
        }
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
    }
}

#[cfg(test)]
mod tests {
    use super::HalfOpen;

    #[test]
    fn the_oldest_that_still_waits_makes_room() {
        let half_open = HalfOpen::new(2);
        let ready = half_open.enter();
        let (oldest, younger) = (half_open.enter(), half_open.enter());
        assert!(ready.crowded_out.is_cancelled());
        drop(ready);
        assert!(!oldest.crowded_out.is_cancelled());

        let _youngest = half_open.enter();

        assert!(oldest.crowded_out.is_cancelled());
        assert!(!younger.crowded_out.is_cancelled());
        drop((oldest, younger, _youngest));
        assert!(half_open.lock().by_age.is_empty());
    }
}
