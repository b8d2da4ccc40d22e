//! Reads that go to PostgreSQL together.
//!
//! To ask for one row costs far more than the row: the way there and back, the plan,
//! two processes that wake each other. So only a few reads of a kind are under way at
//! once; those that come meanwhile wait, and go as one statement. Where nobody waits, a
//! read goes alone and at once. Each statement begins after what it answers was asked
//! for, so an answer is never older than its question.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{runtime::Handle, sync::oneshot};

use crate::error::Result;

/// How many statements of a kind are under way at once.
const UNDER_WAY: usize = 2;

/// How many questions one statement answers at most.
const MOST: usize = 128;

/// One kind of read. A clone shares it.
pub struct Grouped<Q, A>(Arc<Shared<Q, A>>);

struct Shared<Q, A> {
    together: Box<Together<Q, A>>,
    state: Mutex<State<Q, A>>,
}

/// Answers questions with one statement, in their order.
type Together<Q, A> = dyn Fn(Vec<Q>) -> Answering<A> + Send + Sync;

/// Answers on their way.
pub type Answering<A> = Pin<Box<dyn Future<Output = Result<Vec<A>>> + Send>>;

struct State<Q, A> {
    under_way: usize,
    waiting: Vec<(Q, oneshot::Sender<A>)>,
}

/// How a question is to be asked.
pub enum Turn<Q: Send + 'static, A: Send + 'static> {
    /// At once and alone, while this is held.
    Alone(Leave<Q, A>),
    /// With others: the answer comes, or ends without one if their statement failed.
    Together(oneshot::Receiver<A>),
}

/// The leave to ask. When it is dropped, those who wait are asked for.
pub struct Leave<Q: Send + 'static, A: Send + 'static>(Grouped<Q, A>);

impl<Q: Send + 'static, A: Send + 'static> Grouped<Q, A> {
    /// Reads that are answered so when they go together.
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

    /// When and how to ask; the question is needed only with others.
    pub fn turn(&self, question: Q) -> Turn<Q, A> {
        let mut state = self.state();
        if state.under_way < UNDER_WAY {
            state.under_way += 1;
            return Turn::Alone(Leave(self.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push((question, sender));
        Turn::Together(receiver)
    }

    /// Those who wait, or nobody; then one statement less is under way.
    fn next(&self) -> Option<Vec<(Q, oneshot::Sender<A>)>> {
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

    async fn answer(&self, asked: Vec<(Q, oneshot::Sender<A>)>) {
        let (questions, senders): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        // Of a failure each learns when he asks alone.
        let answers = (self.0.together)(questions).await.unwrap_or_default();
        for (sender, answer) in senders.into_iter().zip(answers) {
            // Nobody may wait for it any more.
            let _ = sender.send(answer);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<Q, A>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Send + 'static, A: Send + 'static> Drop for Leave<Q, A> {
    fn drop(&mut self) {
        let Some(asked) = self.0.next() else { return };
        let leave = Self(self.0.clone());
        let answering = async move {
            leave.0.answer(asked).await;
            // Who came meanwhile is next.
            drop(leave);
        };
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
    use std::sync::{Arc, Mutex};

    use super::{Grouped, MOST, Turn, UNDER_WAY};
    use crate::error::Error;

    type Groups = Arc<Mutex<Vec<Vec<usize>>>>;

    /// Answers each number with its double, but fails where there is a 13.
    fn doubling() -> (Grouped<usize, usize>, Groups) {
        let groups = Groups::default();
        let seen = Arc::clone(&groups);
        let grouped = Grouped::new(move |numbers: Vec<usize>| {
            seen.lock().unwrap().push(numbers.clone());
            Box::pin(async move {
                match numbers.contains(&13) {
                    true => Err(Error::ConcurrentChange),
                    false => Ok(numbers.iter().map(|number| 2 * number).collect()),
                }
            })
        });
        (grouped, groups)
    }

    /// Everything that may be under way.
    fn busy(grouped: &Grouped<usize, usize>) -> Vec<Turn<usize, usize>> {
        let turns: Vec<_> = (0..UNDER_WAY).map(|_| grouped.turn(0)).collect();
        assert!(turns.iter().all(|turn| matches!(turn, Turn::Alone(_))));
        turns
    }

    fn waiting(
        grouped: &Grouped<usize, usize>,
        number: usize,
    ) -> tokio::sync::oneshot::Receiver<usize> {
        match grouped.turn(number) {
            Turn::Together(answer) => answer,
            Turn::Alone(_) => panic!("it goes alone"),
        }
    }

    #[tokio::test]
    async fn questions_that_come_meanwhile_are_asked_together() {
        let (grouped, groups) = doubling();
        let under_way = busy(&grouped);
        let answers: Vec<_> = (1..=5).map(|number| waiting(&grouped, number)).collect();
        assert!(groups.lock().unwrap().is_empty());

        drop(under_way);
        for (answer, number) in answers.into_iter().zip(1..) {
            assert_eq!(answer.await, Ok(2 * number));
        }
        assert_eq!(*groups.lock().unwrap(), [[1, 2, 3, 4, 5]]);
        drop(busy(&grouped));
    }

    #[tokio::test]
    async fn one_statement_answers_only_so_many() {
        let (grouped, groups) = doubling();
        let under_way = busy(&grouped);
        let answers: Vec<_> = (100..100 + MOST + 1)
            .map(|number| waiting(&grouped, number))
            .collect();
        drop(under_way);

        for (answer, number) in answers.into_iter().zip(100..) {
            assert_eq!(answer.await, Ok(2 * number));
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

        assert_eq!(stays.await, Ok(4));
        assert_eq!(*groups.lock().unwrap(), [[2]]);
    }

    #[tokio::test]
    async fn a_statement_that_fails_answers_nobody_and_is_over() {
        let (grouped, _) = doubling();
        let under_way = busy(&grouped);
        let answers = [waiting(&grouped, 1), waiting(&grouped, 13)];
        drop(under_way);
        for answer in answers {
            assert!(answer.await.is_err());
        }

        tokio::task::yield_now().await;
        drop(busy(&grouped));
    }
}
