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

use crate::{error::Result, repositories::failure::shared};

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
    state: Mutex<State<Q, A>>,
}

/// Answers questions together, in their order.
type Together<Q, A> = dyn Fn(Vec<Q>) -> Answering<A> + Send + Sync;

/// Answers on their way. `None` is for who has to ask alone.
pub type Answering<A> = Pin<Box<dyn Future<Output = Result<Vec<Option<A>>>> + Send>>;

struct State<Q, A> {
    under_way: usize,
    waiting: Vec<Waiting<Q, A>>,
}

/// A question, and where its answer goes.
type Waiting<Q, A> = (Q, oneshot::Sender<Result<Option<A>>>);

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
    /// What is answered so when it goes together. If that fails, nothing of it may
    /// have happened, except where the database has gone away.
    pub fn new(together: impl Fn(Vec<Q>) -> Answering<A> + Send + Sync + 'static) -> Self {
        let state = State {
            under_way: 0,
            waiting: Vec::new(),
        };
        Self(Arc::new(Shared {
            together: Box::new(together),
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
        let (questions, senders): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        match (self.0.together)(questions).await {
            Ok(answers) => {
                for (sender, answer) in senders.into_iter().zip(answers) {
                    // Nobody may wait for it any more.
                    let _ = sender.send(Ok(answer));
                }
            }
            Err(failure) => {
                for sender in senders {
                    let _ = sender.send(shared(&failure).map_or(Ok(None), Err));
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
mod tests {
    use std::{
        future::pending,
        sync::{Arc, Mutex},
    };

    use tokio::sync::oneshot;

    use super::{Grouped, MOST, Turn, UNDER_WAY};
    use crate::error::{Error, Result};

    type Groups = Arc<Mutex<Vec<Vec<usize>>>>;

    /// Answers each number with its double, but leaves 7 alone, and fails where there is
    /// a 13, or with the database gone where there is a 14.
    fn doubling() -> (Grouped<usize, usize>, Groups) {
        let groups = Groups::default();
        let seen = Arc::clone(&groups);
        let grouped = Grouped::new(move |numbers: Vec<usize>| {
            seen.lock().unwrap().push(numbers.clone());
            Box::pin(async move {
                if numbers.contains(&13) {
                    return Err(Error::ConcurrentChange);
                }
                if numbers.contains(&14) {
                    return Err(Error::DatabaseUnavailable(sqlx::Error::PoolTimedOut));
                }
                let answers = numbers.iter();
                Ok(answers
                    .map(|&number| (number != 7).then_some(2 * number))
                    .collect())
            })
        });
        (grouped, groups)
    }

    /// Everything that may be under way.
    fn busy(grouped: &Grouped<usize, usize>) -> Vec<Turn<usize, usize>> {
        let turns: Vec<_> = (0..UNDER_WAY).map(|_| grouped.turn(|| 0)).collect();
        assert!(turns.iter().all(|turn| matches!(turn, Turn::Alone(_))));
        turns
    }

    /// Asks with others; who has to ask alone gets 1,000.
    fn asking(
        grouped: &Grouped<usize, usize>,
        number: usize,
    ) -> tokio::task::JoinHandle<Result<usize>> {
        let grouped = grouped.clone();
        tokio::spawn(async move { grouped.ask(|| number, async { Ok(1000) }).await })
    }

    fn waiting(
        grouped: &Grouped<usize, usize>,
        number: usize,
    ) -> oneshot::Receiver<Result<Option<usize>>> {
        match grouped.turn(|| number) {
            Turn::Together(answer) => answer,
            Turn::Alone(_) => panic!("it goes alone"),
        }
    }

    #[tokio::test]
    async fn who_asks_where_nobody_does_asks_alone() {
        let (grouped, groups) = doubling();
        assert_eq!(asking(&grouped, 1).await.unwrap().unwrap(), 1000);
        assert!(groups.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn questions_that_come_meanwhile_are_asked_together() {
        let (grouped, groups) = doubling();
        let under_way = busy(&grouped);
        let answers: Vec<_> = (1..=5).map(|number| asking(&grouped, number)).collect();
        tokio::task::yield_now().await;
        assert!(groups.lock().unwrap().is_empty());

        drop(under_way);
        for (answer, number) in answers.into_iter().zip(1..) {
            assert_eq!(answer.await.unwrap().unwrap(), 2 * number);
        }
        assert_eq!(*groups.lock().unwrap(), [[1, 2, 3, 4, 5]]);
        drop(busy(&grouped));
    }

    #[tokio::test]
    async fn only_so_many_go_together() {
        let (grouped, groups) = doubling();
        let under_way = busy(&grouped);
        let answers: Vec<_> = (100..100 + MOST + 1)
            .map(|number| waiting(&grouped, number))
            .collect();
        drop(under_way);

        for (answer, number) in answers.into_iter().zip(100..) {
            assert_eq!(answer.await.unwrap().unwrap(), Some(2 * number));
        }
        let mut sizes: Vec<_> = groups.lock().unwrap().iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, MOST]);
    }

    #[tokio::test]
    async fn who_is_gone_is_not_asked_for() {
        let (grouped, groups) = doubling();
        let under_way = busy(&grouped);
        drop(waiting(&grouped, 1));
        let stays = waiting(&grouped, 2);
        drop(under_way);

        assert_eq!(stays.await.unwrap().unwrap(), Some(4));
        assert_eq!(*groups.lock().unwrap(), [[2]]);
    }

    #[tokio::test]
    async fn who_cannot_be_asked_for_with_others_asks_alone() {
        let (grouped, _) = doubling();
        let under_way = busy(&grouped);
        let (left, done) = (asking(&grouped, 7), asking(&grouped, 8));
        tokio::task::yield_now().await;
        drop(under_way);

        assert_eq!(left.await.unwrap().unwrap(), 1000);
        assert_eq!(done.await.unwrap().unwrap(), 16);
    }

    #[tokio::test]
    async fn who_is_spoilt_by_others_asks_alone() {
        let (grouped, _) = doubling();
        let under_way = busy(&grouped);
        let asking = [asking(&grouped, 1), asking(&grouped, 13)];
        tokio::task::yield_now().await;
        drop(under_way);
        for answer in asking {
            assert_eq!(answer.await.unwrap().unwrap(), 1000);
        }

        tokio::task::yield_now().await;
        drop(busy(&grouped));
    }

    #[tokio::test]
    async fn what_takes_long_holds_up_nobody() {
        let (grouped, _) = doubling();
        let slow = |_| {
            let grouped = grouped.clone();
            tokio::spawn(async move { grouped.ask(|| 0, pending()).await })
        };
        let slow: Vec<_> = (0..UNDER_WAY).map(slow).collect();
        tokio::task::yield_now().await;

        let answer = waiting(&grouped, 1).await;

        assert_eq!(answer.unwrap().unwrap(), Some(2));
        assert!(slow.iter().all(|slow| !slow.is_finished()));
    }

    #[tokio::test]
    async fn when_the_database_has_gone_away_all_learn_it_and_nobody_asks_again() {
        let (grouped, _) = doubling();
        let under_way = busy(&grouped);
        let asking = [asking(&grouped, 1), asking(&grouped, 14)];
        tokio::task::yield_now().await;
        drop(under_way);
        for answer in asking {
            let failure = answer.await.unwrap().unwrap_err();
            assert!(
                matches!(failure, Error::DatabaseUnavailable(_)),
                "{failure}"
            );
        }
    }
}
