//! Batched reads on PostgreSQL.
//!
//! A row costs little; its round trip, its plan and the wake-ups of two processes cost
//! more. So a [`Batcher`] sends only a few reads of one kind at a time. Reads that
//! arrive meanwhile wait and go together in one statement. With no read waiting, each
//! goes alone and at once. A batch starts after each of its reads was requested, so an
//! answer is never older than its request.
//!
//! Few callers are served best by many single reads at a time, many callers by few large
//! batches. So while reads wait, fewer statements may run than otherwise ([`BatchLimits`]).
//!
//! GetProject over 64 connections reached 13,600 calls a second, and 6,100 without batches.
//! `tests/run bench --bench reads` compares batched and single reads without gRPC: with
//! 4 callers 0.85 times as many, with 16 0.77, with 64 1.6, with 256 4.2 times. With as
//! many batches as single reads, GetProject over 64 connections lost a tenth.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot, time::timeout};

use super::errors::shared_by_batch;
use crate::error::Result;

/// The most reads in one batch.
const MAX_BATCH_SIZE: usize = 128;

/// The time after which a read in flight gives up its permit: it may wait for a lock
/// that concerns no other read.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(200);

/// Batches reads of one kind: requests `Q` with answers `A`. A clone shares it.
pub struct Batcher<Q, A>(Arc<BatcherInner<Q, A>>);

/// The maximum numbers of statements of one kind at a time.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Of batches and single reads together.
    pub statements: usize,
    /// Of batches.
    pub batches: usize,
}

struct BatcherInner<Q, A> {
    run_batch: Box<RunBatch<Q, A>>,
    limits: BatchLimits,
    state: Mutex<BatcherState<Q, A>>,
}

/// Answers requests in one statement, in their order.
type RunBatch<Q, A> = dyn Fn(Vec<Q>) -> BatchFuture<A> + Send + Sync;

/// The answers to a batch.
pub type BatchFuture<A> = Pin<Box<dyn Future<Output = Result<Vec<A>>> + Send>>;

/// Receives an answer. `Ok(None)` asks the caller to read alone.
type Responder<A> = oneshot::Sender<Result<Option<A>>>;

struct BatcherState<Q, A> {
    /// Single reads and batches that run.
    statements: usize,
    /// Batches that run.
    batches: usize,
    queue: Vec<(Q, Responder<A>)>,
}

/// How a request proceeds.
enum Admission<Q: Send + 'static, A: Send + 'static> {
    /// At once and alone, with a permit.
    Alone(Permit<Q, A>),
    /// In the next batch.
    Queued(oneshot::Receiver<Result<Option<A>>>),
}

/// The right to run a statement. Dropping it starts the next batch.
struct Permit<Q: Send + 'static, A: Send + 'static> {
    batcher: Batcher<Q, A>,
    is_batch: bool,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Batches reads that `run_batch` answers. Limits below one count as one.
    pub fn new(
        limits: BatchLimits,
        run_batch: impl Fn(Vec<Q>) -> BatchFuture<A> + Send + Sync + 'static,
    ) -> Self {
        let state = BatcherState {
            statements: 0,
            batches: 0,
            queue: Vec::new(),
        };
        let limits = BatchLimits {
            statements: limits.statements.max(1),
            batches: limits.batches.max(1),
        };
        Self(Arc::new(BatcherInner {
            run_batch: Box::new(run_batch),
            limits,
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
        match self.admit(request) {
            Admission::Alone(permit) => permit.hold_during(alone).await,
            Admission::Queued(answer) => match answer.await {
                Ok(Ok(Some(answer))) => Ok(answer),
                Ok(Err(failure)) => Err(failure),
                Ok(Ok(None)) | Err(_) => alone.await,
            },
        }
    }

    fn admit(&self, request: impl FnOnce() -> Q) -> Admission<Q, A> {
        let mut state = self.0.state.lock();
        if state.queue.is_empty() && state.statements < self.0.limits.statements {
            state.statements += 1;
            return Admission::Alone(Permit {
                batcher: self.clone(),
                is_batch: false,
            });
        }
        let (sender, receiver) = oneshot::channel();
        state.queue.push((request(), sender));
        Admission::Queued(receiver)
    }

    /// Ends a statement. Returns the next batch, which counts as running, if reads wait and
    /// it may run.
    fn end_statement(&self, is_batch: bool) -> Option<Vec<(Q, Responder<A>)>> {
        let mut state = self.0.state.lock();
        state.statements -= 1;
        state.batches -= usize::from(is_batch);
        // A caller that has gone away needs no answer.
        state.queue.retain(|(_, sender)| !sender.is_closed());
        if state.queue.is_empty() || state.batches >= self.0.limits.batches {
            return None;
        }
        state.statements += 1;
        state.batches += 1;
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
        let Some(batch) = self.batcher.end_statement(self.is_batch) else {
            return;
        };
        let batcher = self.batcher.clone();
        let permit = Self {
            batcher: batcher.clone(),
            is_batch: true,
        };
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
mod tests {
    use std::{
        future::pending,
        io::{self, ErrorKind},
        sync::{Arc, Mutex},
    };

    use tokio::sync::oneshot;

    use super::{Admission, BatchLimits, Batcher, MAX_BATCH_SIZE};
    use crate::error::{Error, Result};

    const LIMITS: BatchLimits = BatchLimits {
        statements: 3,
        batches: 1,
    };

    /// The answer of a request that runs alone.
    const ALONE: usize = 1000;

    type Batches = Arc<Mutex<Vec<Vec<usize>>>>;

    /// Answers each number with its double.
    fn doubling() -> (Batcher<usize, usize>, Batches) {
        let batches = Batches::default();
        let seen = Arc::clone(&batches);
        let batcher = Batcher::new(LIMITS, move |numbers: Vec<usize>| {
            seen.lock().unwrap().push(numbers.clone());
            Box::pin(async move { Ok(numbers.iter().map(|number| 2 * number).collect()) })
        });
        (batcher, batches)
    }

    fn unavailable(cause: io::Error) -> Error {
        Error::DatabaseUnavailable(sqlx::Error::Io(cause))
    }

    /// Takes every permit.
    fn take_all(batcher: &Batcher<usize, usize>) -> Vec<Admission<usize, usize>> {
        let admissions: Vec<_> = (0..LIMITS.statements)
            .map(|_| batcher.admit(|| 0))
            .collect();
        assert!(
            admissions
                .iter()
                .all(|admission| matches!(admission, Admission::Alone(_)))
        );
        admissions
    }

    fn run(
        batcher: &Batcher<usize, usize>,
        number: usize,
    ) -> tokio::task::JoinHandle<Result<usize>> {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.run(|| number, async { Ok(ALONE) }).await })
    }

    fn queue(
        batcher: &Batcher<usize, usize>,
        number: usize,
    ) -> oneshot::Receiver<Result<Option<usize>>> {
        match batcher.admit(|| number) {
            Admission::Queued(answer) => answer,
            Admission::Alone(_) => panic!("it has a permit"),
        }
    }

    #[tokio::test]
    async fn a_request_runs_alone_while_a_permit_is_free() {
        let (batcher, batches) = doubling();
        assert_eq!(run(&batcher, 1).await.unwrap().unwrap(), ALONE);
        assert!(batches.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn requests_that_arrive_meanwhile_form_one_batch() {
        let (batcher, batches) = doubling();
        let in_flight = take_all(&batcher);
        let answers: Vec<_> = (1..=5).map(|number| run(&batcher, number)).collect();
        tokio::task::yield_now().await;
        assert!(batches.lock().unwrap().is_empty());

        drop(in_flight);
        for (answer, number) in answers.into_iter().zip(1..) {
            assert_eq!(answer.await.unwrap().unwrap(), 2 * number);
        }
        assert_eq!(*batches.lock().unwrap(), [[1, 2, 3, 4, 5]]);
        drop(take_all(&batcher));
    }

    #[tokio::test]
    async fn while_reads_wait_and_a_batch_runs_no_read_runs_alone() {
        let batcher = Batcher::new(LIMITS, |_: Vec<usize>| Box::pin(pending()));
        let mut in_flight = take_all(&batcher);
        let _first = queue(&batcher, 1);
        in_flight.truncate(1);
        // The first read runs as a batch now, beside one single read.
        let second = match batcher.admit(|| 2) {
            Admission::Alone(permit) => permit,
            Admission::Queued(_) => panic!("no read waits"),
        };
        let _third = queue(&batcher, 3);
        drop(in_flight);

        let _fourth = queue(&batcher, 4);
        drop(second);
        let _fifth = queue(&batcher, 5);
    }

    #[tokio::test]
    async fn a_batch_has_a_maximum_size() {
        let (batcher, batches) = doubling();
        let in_flight = take_all(&batcher);
        let answers: Vec<_> = (100..100 + MAX_BATCH_SIZE + 1)
            .map(|number| queue(&batcher, number))
            .collect();
        drop(in_flight);

        for (answer, number) in answers.into_iter().zip(100..) {
            assert_eq!(answer.await.unwrap().unwrap(), Some(2 * number));
        }
        let mut sizes: Vec<_> = batches.lock().unwrap().iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, MAX_BATCH_SIZE]);
    }

    #[tokio::test]
    async fn a_request_whose_caller_has_gone_is_not_sent() {
        let (batcher, batches) = doubling();
        let in_flight = take_all(&batcher);
        drop(queue(&batcher, 1));
        let stays = queue(&batcher, 2);
        drop(in_flight);

        assert_eq!(stays.await.unwrap().unwrap(), Some(4));
        assert_eq!(*batches.lock().unwrap(), [[2]]);
    }

    /// Runs two requests whose batch fails.
    async fn run_in_failing_batch(failure: Error) -> [Result<usize>; 2] {
        let failure = Mutex::new(Some(failure));
        let batcher = Batcher::new(LIMITS, move |_: Vec<usize>| {
            let failure = failure.lock().unwrap().take().unwrap();
            Box::pin(async move { Err(failure) })
        });
        let in_flight = take_all(&batcher);
        let (first, second) = (run(&batcher, 1), run(&batcher, 2));
        tokio::task::yield_now().await;
        drop(in_flight);
        let answers = [first.await.unwrap(), second.await.unwrap()];

        tokio::task::yield_now().await;
        drop(take_all(&batcher));
        answers
    }

    #[tokio::test]
    async fn each_request_of_a_batch_that_fails_for_some_runs_alone() {
        for answer in run_in_failing_batch(Error::ConcurrentChange).await {
            assert_eq!(answer.unwrap(), ALONE);
        }
    }

    #[tokio::test]
    async fn requests_of_a_batch_whose_connection_has_ended_run_alone() {
        for kind in [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof] {
            for answer in run_in_failing_batch(unavailable(kind.into())).await {
                assert_eq!(answer.unwrap(), ALONE);
            }
        }
    }

    #[tokio::test]
    async fn every_request_of_a_batch_learns_that_the_database_is_unavailable() {
        for failure in [
            Error::DatabaseUnavailable(sqlx::Error::PoolTimedOut),
            unavailable(ErrorKind::TimedOut.into()),
        ] {
            for answer in run_in_failing_batch(failure).await {
                let failure = answer.unwrap_err();
                assert!(
                    matches!(failure, Error::DatabaseUnavailable(_)),
                    "{failure}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_slow_request_holds_up_no_other() {
        let (batcher, _) = doubling();
        let slow = |_| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.run(|| 0, pending()).await })
        };
        let slow: Vec<_> = (0..LIMITS.statements).map(slow).collect();
        tokio::task::yield_now().await;

        let answer = queue(&batcher, 1).await;

        assert_eq!(answer.unwrap().unwrap(), Some(2));
        assert!(slow.iter().all(|slow| !slow.is_finished()));
    }
}
