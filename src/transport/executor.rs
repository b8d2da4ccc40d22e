use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Waker},
};

use hyper::rt::Executor;

use super::overload::Pressure;

/// Runs the calls of a connection of HTTP/2, each in a task of its own.
///
/// Under pressure each is begun at once, in the task of the connection: one that is
/// refused then needs no task, and its answer leaves with those of others. The waker of
/// this beginning wakes nobody; the task asks again when it begins.
#[derive(Debug, Clone)]
pub(super) struct CallExecutor {
    pub pressure: Pressure,
}

impl<F> Executor<F> for CallExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, call: F) {
        if !self.pressure.is_felt() {
            tokio::spawn(call);
            return;
        }
        let mut call: Pin<Box<F>> = Box::pin(call);
        let begin = || call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        // Its panic ends it alone, as it would a task of its own.
        let begun = catch_unwind(AssertUnwindSafe(begin));
        if begun.is_ok_and(|begun| begun.is_pending()) {
            tokio::spawn(call);
        }
    }
}
