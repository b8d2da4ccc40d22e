//! Batched reads on PostgreSQL.
//!
//! A row costs little; its round trip, its plan and the wake-ups of two processes cost
//! more. So a [`Batcher`] sends only a few reads of one kind at a time. Reads that
//! arrive meanwhile wait and go together in one statement. With no read waiting, each
//! goes alone and at once. A batch starts after each of its reads was requested, so an
//! answer is never older than its request.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot, time::timeout};

use crate::{
    error::{Error, Result},
    repositories::failure::shared_by_batch,
};

/// The most reads in one batch.
const MAX_BATCH_SIZE: usize = 128;

/// The time after which a read in flight gives up its permit: it may wait for a lock
/// that concerns no other read.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(200);

/// Batches reads of one kind: requests `Q` with answers `A`. A clone shares it.
pub struct Batcher<Q, A>(Arc<Inner<Q, A>>);

struct Inner<Q, A> {
    run_batch: Box<RunBatch<Q, A>>,
    max_in_flight: usize,
    state: Mutex<State<Q, A>>,
}

/// Answers requests in one statement, in their order.
type RunBatch<Q, A> = dyn Fn(Vec<Q>) -> BatchFuture<A> + Send + Sync;

/// The answers to a batch.
pub type BatchFuture<A> = Pin<Box<dyn Future<Output = Result<Vec<A>>> + Send>>;

/// Receives an answer. `Ok(None)` asks the caller to read alone.
type Responder<A> = oneshot::Sender<Result<Option<A>>>;

struct State<Q, A> {
    in_flight: usize,
    queue: Vec<(Q, Responder<A>)>,
}

/// How a request proceeds.
enum Turn<Q: Send + 'static, A: Send + 'static> {
    /// At once and alone, with a permit.
    Alone(Permit<Q, A>),
    /// In the next batch.
    Queued(oneshot::Receiver<Result<Option<A>>>),
}

/// The right to have a read in flight. Dropping it starts the next batch.
struct Permit<Q: Send + 'static, A: Send + 'static>(Batcher<Q, A>);

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Batches reads that `run_batch` answers, with at most `max_in_flight` statements
    /// at a time.
    pub fn new(
        max_in_flight: usize,
        run_batch: impl Fn(Vec<Q>) -> BatchFuture<A> + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            in_flight: 0,
            queue: Vec::new(),
        };
        Self(Arc::new(Inner {
            run_batch: Box::new(run_batch),
            max_in_flight: max_in_flight.max(1),
            state: Mutex::new(state),
        }))
    }

    /// Runs `alone` while a permit is free, else sends the request with the next batch.
    /// Also runs `alone` if the batch fails in a way that need not concern this request.
    pub async fn run(
        &self,
        request: impl FnOnce() -> Q,
        alone: impl Future<Output = Result<A>>,
    ) -> Result<A> {
        match self.turn(request) {
            Turn::Alone(permit) => permit.hold_during(alone).await,
            Turn::Queued(answer) => match answer.await {
                Ok(Ok(Some(answer))) => Ok(answer),
                Ok(Err(failure)) => Err(failure),
                Ok(Ok(None)) | Err(_) => alone.await,
            },
        }
    }

    fn turn(&self, request: impl FnOnce() -> Q) -> Turn<Q, A> {
        let mut state = self.state();
        if state.in_flight < self.0.max_in_flight {
            state.in_flight += 1;
            return Turn::Alone(Permit(self.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        state.queue.push((request(), sender));
        Turn::Queued(receiver)
    }

    /// The next batch. Releases one permit if the queue is empty.
    fn next_batch(&self) -> Option<Vec<(Q, Responder<A>)>> {
        let mut state = self.state();
        // A caller that has gone away needs no answer.
        state.queue.retain(|(_, sender)| !sender.is_closed());
        if state.queue.is_empty() {
            state.in_flight -= 1;
            return None;
        }
        let size = state.queue.len().min(MAX_BATCH_SIZE);
        Some(state.queue.drain(..size).collect())
    }

    async fn answer(&self, batch: Vec<(Q, Responder<A>)>) {
        let (requests, responders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        match (self.0.run_batch)(requests).await {
            Ok(answers) => {
                for (responder, answer) in responders.into_iter().zip(answers) {
                    // The caller may have gone away.
                    let _ = responder.send(Ok(Some(answer)));
                }
            }
            Err(failure) => {
                for responder in responders {
                    let _ = responder.send(shared_by_batch(&failure).map_or(Ok(None), Err));
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<Q, A>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Send + 'static, A: Send + 'static> Permit<Q, A> {
    /// Awaits a read, and gives up the permit early if the read takes too long.
    async fn hold_during<T>(self, read: impl Future<Output = T>) -> T {
        let mut read = pin!(read);
        let in_time = timeout(PERMIT_TIMEOUT, &mut read).await;
        // Starts the next batch.
        drop(self);
        match in_time {
            Ok(done) => done,
            Err(_) => read.await,
        }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Drop for Permit<Q, A> {
    fn drop(&mut self) {
        let Some(batch) = self.0.next_batch() else {
            return;
        };
        let batcher = self.0.clone();
        let permit = Self(self.0.clone());
        let answering = async move { permit.hold_during(batcher.answer(batch)).await };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(answering);
        }
    }
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q, A> fmt::Debug for Batcher<Q, A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batcher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
