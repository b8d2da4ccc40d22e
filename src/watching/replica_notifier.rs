use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::sleep,
};

use crate::{
    database::{Database, NotifyChannel},
    domain::ProjectId,
};

/// The time for which changes are collected into one notification.
const COALESCE_DELAY: Duration = Duration::from_millis(15);

/// Notifies other replicas of the changes of this one.
#[derive(Debug)]
pub struct ReplicaNotifier {
    channel: NotifyChannel,
    changes: Receiver<ProjectId>,
}

impl ReplicaNotifier {
    /// A notifier of changes from now on.
    pub fn new(channel: NotifyChannel, database: &Database) -> Self {
        Self {
            channel,
            changes: database.change_notifications().subscribe_local(),
        }
    }

    /// Sends notifications; never returns.
    pub async fn run(mut self) {
        loop {
            let changed = self.collect().await;
            // Polling finds the changes of lost notifications.
            if let Err(error) = self.channel.send(&changed).await {
                let error = error.with_causes();
                tracing::warn!(error, "cannot notify other replicas of changes");
            }
        }
    }

    /// Waits for changes and collects them. An empty list stands for all projects: the
    /// receiver lagged and missed some.
    async fn collect(&mut self) -> Vec<ProjectId> {
        let first = self.changes.recv().await;
        sleep(COALESCE_DELAY).await;
        let mut changed = HashSet::new();
        let mut lagged = match first {
            Ok(id) => !changed.insert(id),
            Err(RecvError::Lagged(_)) => true,
            // Only when the database handle is dropped, and this task with it.
            Err(RecvError::Closed) => std::future::pending().await,
        };
        loop {
            match self.changes.try_recv() {
                Ok(id) => drop(changed.insert(id)),
                Err(TryRecvError::Lagged(_)) => lagged = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        match lagged {
            true => Vec::new(),
            false => changed.into_iter().collect(),
        }
    }
}
