use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::sleep,
};

use crate::{
    database::{Database, Notices},
    domain::ProjectId,
};

/// How long changes are collected before other replicas are told of them.
const COLLECTED: Duration = Duration::from_millis(15);

/// Tells other replicas what this one changes.
#[derive(Debug)]
pub struct Notifier {
    notices: Notices,
    changes: Receiver<ProjectId>,
}

impl Notifier {
    /// A notifier of what is changed in this database from now on.
    pub fn new(notices: Notices, database: &Database) -> Self {
        Self {
            notices,
            changes: database.hints().own(),
        }
    }

    /// Tells again and again; never returns.
    pub async fn run(mut self) {
        loop {
            let changed = self.changed().await;
            // Lost hints are made good for by polls.
            if let Err(error) = self.notices.tell(&changed).await {
                let error = error.with_causes();
                tracing::warn!(error, "cannot tell other replicas of changes");
            }
        }
    }

    /// Waits for changes, and collects them; none if too many came to know them all.
    async fn changed(&mut self) -> Vec<ProjectId> {
        let first = self.changes.recv().await;
        sleep(COLLECTED).await;
        let mut changed = HashSet::new();
        let mut missed = match first {
            Ok(id) => !changed.insert(id),
            Err(RecvError::Lagged(_)) => true,
            // Only when the database is gone, and this with it.
            Err(RecvError::Closed) => std::future::pending().await,
        };
        loop {
            match self.changes.try_recv() {
                Ok(id) => drop(changed.insert(id)),
                Err(TryRecvError::Lagged(_)) => missed = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        match missed {
            true => Vec::new(),
            false => changed.into_iter().collect(),
        }
    }
}
