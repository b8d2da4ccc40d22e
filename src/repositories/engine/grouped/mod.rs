//! Reads and writes that go to PostgreSQL together.
//!
//! One row costs far less than to ask for it: the way there and back, the plan, two
//! processes that wake each other, for a write the wait for the disk. So only a few of
//! a kind are under way at once; those that come meanwhile wait, and go together. Where
//! nobody waits, each goes alone and at once. What goes together begins after each of
//! it was asked for, so an answer is never older than its question.

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
    repositories::failure::{shared_by_reads, shared_by_writes},
};

/// How many of a kind are under way at once.
const UNDER_WAY: usize = 2;

/// How many go together at most.
const MOST: usize = 128;

/// After how long what is under way counts no more: it may wait for a lock that concerns
/// nobody else.
const PATIENCE: Duration = Duration::from_millis(200);

/// One kind of read or write. A clone shares it.
pub struct Grouped<Q, A>(Arc<Shared<Q, A>>);

struct Shared<Q, A> {
    together: Box<Together<Q, A>>,
    /// What of a failure concerns all; the others ask alone.
    shared: fn(&Error) -> Option<Error>,
    state: Mutex<State<Q, A>>,
}

/// Answers questions together, in their order.
type Together<Q, A> = dyn Fn(Vec<Q>, Callers<A>) -> Answering<A> + Send + Sync;

/// Answers on their way. `None` is for who has to ask alone.
pub type Answering<A> = Pin<Box<dyn Future<Output = Result<Vec<Option<A>>>> + Send>>;

/// Those who wait for the answers, in the order of the questions.
pub struct Callers<A>(Arc<Vec<Answer<A>>>);

/// Where an answer goes.
type Answer<A> = oneshot::Sender<Result<Option<A>>>;

struct State<Q, A> {
    under_way: usize,
    waiting: Vec<Waiting<Q, A>>,
}

/// A question, and where its answer goes.
type Waiting<Q, A> = (Q, Answer<A>);

/// How a question is to be asked.
enum Turn<Q: Send + 'static, A: Send + 'static> {
    /// At once and alone, while this is held.
    Alone(Leave<Q, A>),
    /// With others.
    Together(oneshot::Receiver<Result<Option<A>>>),
}

/// The leave to ask. When it is dropped, those who wait are asked for.
struct Leave<Q: Send + 'static, A: Send + 'static>(Grouped<Q, A>);

impl<Q: Send + 'static, A: Send + 'static> Grouped<Q, A> {
    /// Reads that are answered so when they go together.
    pub fn reads(together: impl Fn(Vec<Q>) -> Answering<A> + Send + Sync + 'static) -> Self {
        let together = move |questions, _| together(questions);
        Self::new(Box::new(together), shared_by_reads)
    }

    /// Writes that are made so when they go together. Those whose callers have gone by the
    /// time that it is their turn are not made: a caller that gave up may have asked for
    /// something else since.
    pub fn writes(
        together: impl Fn(Vec<Q>, Callers<A>) -> Answering<A> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Box::new(together), shared_by_writes)
    }

    fn new(together: Box<Together<Q, A>>, shared: fn(&Error) -> Option<Error>) -> Self {
        let state = State {
            under_way: 0,
            waiting: Vec::new(),
        };
        Self(Arc::new(Shared {
            together,
            shared,
            state: Mutex::new(state),
        }))
    }

    /// Asks alone where nobody waits, else with others; and alone where others cannot
    /// ask for it, or spoil it.
    pub async fn ask(
        &self,
        question: impl FnOnce() -> Q,
        alone: impl Future<Output = Result<A>>,
    ) -> Result<A> {
        match self.turn(question) {
            Turn::Alone(leave) => leave.during(alone).await,
            Turn::Together(answer) => match answer.await {
                Ok(Ok(Some(answer))) => Ok(answer),
                Ok(Err(failure)) => Err(failure),
                Ok(Ok(None)) | Err(_) => alone.await,
            },
        }
    }

    fn turn(&self, question: impl FnOnce() -> Q) -> Turn<Q, A> {
        let mut state = self.state();
        if state.under_way < UNDER_WAY {
            state.under_way += 1;
            return Turn::Alone(Leave(self.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push((question(), sender));
        Turn::Together(receiver)
    }

    /// Those who wait, or nobody; then one less is under way.
    fn next(&self) -> Option<Vec<Waiting<Q, A>>> {
        let mut state = self.state();
        // Whoever has gone away needs no answer.
        state.waiting.retain(|(_, sender)| !sender.is_closed());
        if state.waiting.is_empty() {
            state.under_way -= 1;
            return None;
        }
        let number = state.waiting.len().min(MOST);
        Some(state.waiting.drain(..number).collect())
    }

    async fn answer(&self, asked: Vec<Waiting<Q, A>>) {
        let (questions, callers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let callers = Arc::new(callers);
        let answered = (self.0.together)(questions, Callers(Arc::clone(&callers))).await;
        let callers = Arc::into_inner(callers).unwrap_or_default();
        match answered {
            Ok(answers) => {
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // Nobody may wait for it any more.
                    let _ = caller.send(Ok(answer));
                }
            }
            Err(failure) => {
                for caller in callers {
                    let _ = caller.send((self.0.shared)(&failure).map_or(Ok(None), Err));
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<Q, A>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Send + 'static, A: Send + 'static> Leave<Q, A> {
    /// Waits for what is done with this leave, which is over before if that takes long.
    async fn during<T>(self, done: impl Future<Output = T>) -> T {
        let mut done = pin!(done);
        let in_time = timeout(PATIENCE, &mut done).await;
        // Who came meanwhile is next.
        drop(self);
        match in_time {
            Ok(done) => done,
            Err(_) => done.await,
        }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Drop for Leave<Q, A> {
    fn drop(&mut self) {
        let Some(asked) = self.0.next() else { return };
        let grouped = self.0.clone();
        let leave = Self(self.0.clone());
        let answering = async move { leave.during(grouped.answer(asked)).await };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(answering);
        }
    }
}

impl<A> Callers<A> {
    /// Whether the one with this number still waits.
    pub fn is_there(&self, number: usize) -> bool {
        self.0.get(number).is_some_and(|caller| !caller.is_closed())
    }
}

impl<Q, A> Clone for Grouped<Q, A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q, A> fmt::Debug for Grouped<Q, A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grouped").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
