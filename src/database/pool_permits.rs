use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::requester::Requester;
use crate::fair_queue::{FairQueue, QueueTicket};

/// The permits of a pool, one for each connection. Writes may take only some of them, and so may
/// each requester. Those who wait take turns. Whoever gives up leaves nothing behind: while the
/// server lets go of no connection, calls come and go, and nobody takes turns.
#[derive(Debug, Clone)]
pub(super) struct PoolPermits(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    size: usize,
    free: usize,
    /// The number of permits that writes may still take.
    free_writes: usize,
    /// The permits of each requester for reads, and for writes: reads do not wait for writes.
    held: HashMap<(Requester, bool), usize>,
    reads: FairQueue<Requester, Waiter>,
    writes: FairQueue<Requester, Waiter>,
    /// Whether the last permit that was waited for went to a write.
    write_was_last: bool,
    /// Told when all permits are free, once no more are given out.
    closing: Option<oneshot::Sender<()>>,
    is_closed: bool,
}

type Waiter = (Holder, oneshot::Sender<PoolPermit>);

/// The right to have a connection, given back when dropped.
#[derive(Debug)]
pub(super) struct PoolPermit {
    /// `None` once it is given back.
    permits: Option<PoolPermits>,
    holder: Holder,
}

/// One who waits for a permit, until dropped.
struct WaitingTurn<'a> {
    permits: &'a PoolPermits,
    is_write: bool,
    ticket: QueueTicket<Requester>,
    permit: oneshot::Receiver<PoolPermit>,
}

impl Drop for WaitingTurn<'_> {
    fn drop(&mut self) {
        let mut state = self.permits.0.lock();
        state.queue(self.is_write).remove(self.ticket);
    }
}

/// What a permit counts for.
#[derive(Debug, Clone, Copy)]
struct Holder {
    requester: Option<Requester>,
    is_write: bool,
}

impl PoolPermits {
    /// The permits of a pool of this size.
    pub fn new(size: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            size,
            free: size,
            free_writes: max_writes(size),
            held: HashMap::new(),
            reads: FairQueue::default(),
            writes: FairQueue::default(),
            write_was_last: false,
            closing: None,
            is_closed: false,
        })))
    }

    /// Waits for a permit.
    pub async fn acquire(&self, is_write: bool) -> Result<PoolPermit, sqlx::Error> {
        let holder = Holder {
            requester: Requester::current(),
            is_write,
        };
        let mut waiting = {
            let mut state = self.0.lock();
            if state.is_closed {
                return Err(sqlx::Error::PoolClosed);
            }
            // None of those who wait could take a permit that is free.
            if state.take(holder) {
                return Ok(self.permit(holder));
            }
            let (waiter, permit) = oneshot::channel();
            let queue = state.queue(is_write);
            WaitingTurn {
                permits: self,
                is_write,
                ticket: queue.push(holder.requester, (holder, waiter)),
                permit,
            }
        };
        let permit = (&mut waiting.permit).await;
        permit.map_err(|_| sqlx::Error::PoolClosed)
    }

    /// The number of free permits.
    pub fn available(&self) -> usize {
        self.0.lock().free
    }

    /// Gives out no more permits than to those who wait, and waits until all are free.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        {
            let mut state = self.0.lock();
            state.is_closed = true;
            state.closing = Some(done);
            state.end_if_closed();
        }
        // The state outlives this.
        let _ = closed.await;
    }

    fn permit(&self, holder: Holder) -> PoolPermit {
        PoolPermit {
            permits: Some(self.clone()),
            holder,
        }
    }

    fn give_back(&self, holder: Holder) {
        let mut state = self.0.lock();
        state.put(holder);
        while let Some((holder, waiter)) = state.next() {
            // One that goes away just now does not get it.
            if let Err(mut permit) = waiter.send(self.permit(holder)) {
                permit.permits = None;
                state.put(holder);
            }
        }
        state.end_if_closed();
    }
}

impl Drop for PoolPermit {
    fn drop(&mut self) {
        if let Some(permits) = self.permits.take() {
            permits.give_back(self.holder);
        }
    }
}

impl State {
    /// Takes a permit, if there is one for this holder.
    fn take(&mut self, holder: Holder) -> bool {
        let Holder {
            requester,
            is_write,
        } = holder;
        let may_have_more = |requester| self.may_have_more(requester, is_write);
        if !self.has_free(is_write) || !requester.is_none_or(may_have_more) {
            return false;
        }
        self.free -= 1;
        self.free_writes -= usize::from(is_write);
        if let Some(requester) = requester {
            *self.held.entry((requester, is_write)).or_default() += 1;
        }
        true
    }

    fn queue(&mut self, is_write: bool) -> &mut FairQueue<Requester, Waiter> {
        match is_write {
            true => &mut self.writes,
            false => &mut self.reads,
        }
    }

    fn put(&mut self, holder: Holder) {
        self.free += 1;
        self.free_writes += usize::from(holder.is_write);
        if let Some(requester) = holder.requester
            && let Entry::Occupied(mut held) = self.held.entry((requester, holder.is_write))
        {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    fn has_free(&self, is_write: bool) -> bool {
        self.free > 0 && (!is_write || self.free_writes > 0)
    }

    fn may_have_more(&self, requester: Requester, is_write: bool) -> bool {
        let held = self.held.get(&(requester, is_write));
        held.is_none_or(|held| *held < self.max_of_requester(is_write))
    }

    fn max_of_requester(&self, is_write: bool) -> usize {
        match is_write {
            true => max_writes_of_requester(self.size),
            false => max_reads_of_requester(self.size),
        }
    }

    /// Takes a permit for the one whose turn it is. Reads and writes alternate.
    fn next(&mut self) -> Option<Waiter> {
        let first = !self.write_was_last;
        for is_write in [first, !first] {
            if !self.has_free(is_write) {
                continue;
            }
            let most = self.max_of_requester(is_write);
            let held = &self.held;
            let queue = match is_write {
                true => &mut self.writes,
                false => &mut self.reads,
            };
            let may_have_more = |requester: &Requester| {
                held.get(&(*requester, is_write))
                    .is_none_or(|held| *held < most)
            };
            if let Some((holder, waiter)) = queue.pop_of(may_have_more) {
                self.write_was_last = is_write;
                self.take(holder);
                return Some((holder, waiter));
            }
        }
        None
    }

    fn end_if_closed(&mut self) {
        if self.free == self.size
            && let Some(closing) = self.closing.take()
        {
            // Whoever closes may have been cancelled.
            let _ = closing.send(());
        }
    }
}

/// The most permits that writes take: all but a quarter, and at most all but one. Only in a
/// pool of one they take it all.
fn max_writes(size: usize) -> usize {
    size.saturating_sub((size / 4).max(1)).max(1)
}

/// The most permits that the reads of one requester take: a quarter. There are two connections for
/// each processor, and a statement keeps one of them busy, of the server (SQLite) or of a database
/// beside it. With half of them, reads of one user who lists without end make heartbeats of media
/// servers 3.6 times as slow on two processors (`tests/run bench --bench attacks lists`).
fn max_reads_of_requester(size: usize) -> usize {
    (size / 4).max(1)
}

/// The most permits that the writes of one requester take: all but one of those of writes, and
/// at least two.
fn max_writes_of_requester(size: usize) -> usize {
    (max_writes(size) - 1).max(2)
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use futures_util::poll;
    use uuid::Uuid;

    use super::{
        PoolPermits, Requester, max_reads_of_requester, max_writes, max_writes_of_requester,
    };

    fn requester(number: u128) -> Option<Requester> {
        Some(Requester::Caller(Uuid::from_u128(number)))
    }

    /// Whether a future has its permit, which is then given back.
    async fn is_served(
        future: impl Future<Output = Result<super::PoolPermit, sqlx::Error>>,
    ) -> bool {
        matches!(poll!(pin!(future)), Poll::Ready(Ok(_)))
    }

    #[test]
    fn writes_leave_a_quarter_and_reads_of_a_requester_take_one() {
        let sizes = [1, 2, 3, 5, 8, 17, 1000];

        assert_eq!(sizes.map(max_writes), [1, 1, 2, 4, 6, 13, 750]);
        let of_requester = sizes.map(max_writes_of_requester);
        assert_eq!(of_requester, [2, 2, 2, 3, 5, 12, 749]);
        let of_requester = sizes.map(max_reads_of_requester);
        assert_eq!(of_requester, [1, 1, 1, 1, 2, 4, 250]);
    }

    #[tokio::test]
    async fn writes_leave_the_rest_to_reads() {
        let permits = PoolPermits::new(4);
        let _writes = [
            permits.acquire(true).await.unwrap(),
            permits.acquire(true).await.unwrap(),
            permits.acquire(true).await.unwrap(),
        ];

        assert!(!is_served(permits.acquire(true)).await);
        assert!(is_served(permits.acquire(false)).await);
        assert_eq!(permits.available(), 1);
    }

    #[tokio::test]
    async fn a_requester_with_many_calls_does_not_hold_up_another() {
        let permits = PoolPermits::new(1);
        let held = permits.acquire(false).await.unwrap();
        let acquire = |number| Requester::scope(requester(number), permits.acquire(false));
        let mut many = [(); 100].map(|()| Box::pin(acquire(1)));
        for one in &mut many {
            assert!(poll!(one.as_mut()).is_pending());
        }
        let mut other = pin!(acquire(2));
        assert!(poll!(other.as_mut()).is_pending());
        let mut server = pin!(permits.acquire(false));
        assert!(poll!(server.as_mut()).is_pending());

        drop(held);
        let Poll::Ready(Ok(permit)) = poll!(server.as_mut()) else {
            panic!("the server's own work is preferred");
        };
        drop(permit);
        let Poll::Ready(Ok(permit)) = poll!(many[0].as_mut()) else {
            panic!("it has waited longest");
        };
        drop(permit);
        assert!(matches!(poll!(other.as_mut()), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn a_requester_has_only_some_of_the_permits() {
        let permits = PoolPermits::new(8);
        let acquire = |number| Requester::scope(requester(number), permits.acquire(false));
        let held = [acquire(1).await.unwrap(), acquire(1).await.unwrap()];
        let mut third = Box::pin(acquire(1));
        assert!(poll!(third.as_mut()).is_pending());

        let others = [acquire(2).await.unwrap(), acquire(3).await.unwrap()];
        drop(others);
        assert!(poll!(third.as_mut()).is_pending());
        drop(held);
        assert!(matches!(poll!(third.as_mut()), Poll::Ready(Ok(_))));
        drop(third);
        assert!(permits.0.lock().held.is_empty());
    }

    #[tokio::test]
    async fn a_permit_is_not_lost_with_one_who_waited_for_it() {
        let permits = PoolPermits::new(1);
        let held = permits.acquire(true).await.unwrap();
        let mut given_up = Box::pin(permits.acquire(true));
        let mut served = Box::pin(permits.acquire(true));
        assert!(poll!(given_up.as_mut()).is_pending());
        assert!(poll!(served.as_mut()).is_pending());
        drop(given_up);

        drop(held);
        assert_eq!(permits.available(), 0);
        // It has the permit, and has not looked.
        drop(served);
        assert_eq!(permits.available(), 1);
        permits.acquire(true).await.unwrap();
    }

    #[tokio::test]
    async fn those_who_give_up_leave_nothing_behind_while_no_permit_is_given_back() {
        let permits = PoolPermits::new(1);
        let held = permits.acquire(false).await.unwrap();
        for number in 0..100 {
            let requester = requester(number).filter(|_| number > 0);
            for is_write in [true, false] {
                let waiting = Requester::scope(requester, permits.acquire(is_write));
                assert!(poll!(pin!(waiting)).is_pending());
            }
        }

        let mut state = permits.0.lock();
        assert!(state.reads.pop().is_none() && state.writes.pop().is_none());
        drop(state);
        drop(held);
        assert_eq!(permits.available(), 1);
    }

    #[tokio::test]
    async fn calls_that_were_given_up_cost_their_requester_no_turn() {
        let permits = PoolPermits::new(1);
        let held = permits.acquire(false).await.unwrap();
        let acquire =
            |number| Box::pin(Requester::scope(requester(number), permits.acquire(false)));
        let mut given_up = [(); 100].map(|()| acquire(1));
        let [mut waiting, mut next, mut last] = [acquire(1), acquire(2), acquire(2)];
        for one in &mut given_up {
            assert!(poll!(one.as_mut()).is_pending());
        }
        for one in [&mut waiting, &mut next, &mut last] {
            assert!(poll!(one.as_mut()).is_pending());
        }
        drop(given_up);

        drop(held);
        assert!(matches!(poll!(waiting.as_mut()), Poll::Ready(Ok(_))));
        assert!(matches!(poll!(next.as_mut()), Poll::Ready(Ok(_))));
        assert!(matches!(poll!(last.as_mut()), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn closing_serves_those_who_wait_and_nobody_else() {
        let permits = PoolPermits::new(1);
        let held = permits.acquire(false).await.unwrap();
        let mut waiting = pin!(permits.acquire(false));
        assert!(poll!(waiting.as_mut()).is_pending());
        let mut closing = pin!(permits.close());
        assert!(poll!(closing.as_mut()).is_pending());

        assert!(permits.acquire(false).await.is_err());
        drop(held);
        assert!(poll!(closing.as_mut()).is_pending());
        let Poll::Ready(Ok(last)) = poll!(waiting.as_mut()) else {
            panic!("it was there before");
        };
        drop(last);
        assert!(poll!(closing.as_mut()).is_ready());
    }
}
