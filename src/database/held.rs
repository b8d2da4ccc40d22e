//! A connection of a pool, for as long as somebody uses it.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::Connection;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use super::{
    connection::{Line, LineState},
    dialect::Server,
    pool::{Age, PATIENCE, Shared},
};

/// A connection that somebody uses. Dropping it gives it back.
pub struct Held<DB: Server> {
    /// There until it is dropped.
    line: Option<Line<DB>>,
    place: Option<OwnedSemaphorePermit>,
    age: Age,
    pub(super) in_transaction: bool,
    shared: Arc<Shared<DB>>,
}

impl<DB: Server> Held<DB> {
    pub(super) fn new(
        line: Line<DB>,
        age: Age,
        place: OwnedSemaphorePermit,
        shared: Arc<Shared<DB>>,
    ) -> Self {
        Self {
            line: Some(line),
            place: Some(place),
            age,
            in_transaction: false,
            shared,
        }
    }

    /// Gives back a connection that was left in the middle, if it can be brought to order.
    async fn recover(mut line: Line<DB>, in_transaction: bool, age: Age, shared: Arc<Shared<DB>>) {
        let order = async {
            match in_transaction {
                true => line.run("rollback").await,
                false => line.raw.ping().await,
            }
        };
        match timeout(PATIENCE, order).await {
            Ok(Ok(())) => shared.shelve(line, age),
            _ => shared.fail(),
        }
    }
}

impl<DB: Server> Drop for Held<DB> {
    fn drop(&mut self) {
        let (Some(line), place) = (self.line.take(), self.place.take()) else {
            return;
        };
        match (line.state(), self.in_transaction) {
            (LineState::Sound, false) => self.shared.shelve(line, self.age),
            (LineState::Broken, _) => self.shared.fail(),
            (_, in_transaction) => {
                let recovering = Self::recover(line, in_transaction, self.age, self.shared.clone());
                let recovering = async move {
                    recovering.await;
                    drop(place);
                };
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(recovering);
                }
            }
        }
    }
}

impl<DB: Server> Deref for Held<DB> {
    type Target = Line<DB>;

    fn deref(&self) -> &Line<DB> {
        self.line.as_ref().expect("it is there until it is dropped")
    }
}

impl<DB: Server> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Line<DB> {
        self.line.as_mut().expect("it is there until it is dropped")
    }
}
