//! Change notifications between replicas.

use std::time::Duration;

use tokio::{
    sync::broadcast::Receiver,
    time::{sleep, timeout},
};

use super::{WatchHub, event_poller::collect_changes};
use crate::{
    database::{ChangeNotifications, Database, NotifyChannel, NotifyListener, ReplicaChange},
    domain::ProjectId,
    error::{Error, Result},
};

/// The time without notifications after which the connection is checked.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// The timeout of a connection check.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The delay before a reconnect.
const RECONNECT_DELAY: Duration = Duration::from_millis(200);

/// Receives the change notifications of other replicas.
#[derive(Debug)]
pub struct ReplicaListener {
    channel: NotifyChannel,
    notifications: ChangeNotifications,
    hub: WatchHub,
}

impl ReplicaListener {
    /// A listener that wakes the watches of a hub.
    pub fn new(channel: NotifyChannel, database: &Database, hub: WatchHub) -> Self {
        Self {
            channel,
            notifications: database.change_notifications().clone(),
            hub,
        }
    }

    /// Listens, and reconnects after failures; never returns.
    pub async fn run(self) {
        let mut is_reachable = true;
        loop {
            match self.channel.listen().await {
                Ok(listening) => {
                    is_reachable = true;
                    // Notifications may have been missed without a connection.
                    self.hub.request_full_poll();
                    self.receive(listening).await;
                }
                Err(error) => {
                    if is_reachable {
                        let error = error.with_causes();
                        tracing::warn!(error, "cannot listen to other replicas");
                    }
                    is_reachable = false;
                }
            }
            sleep(RECONNECT_DELAY).await;
        }
    }

    /// Forwards notifications until the connection is lost.
    async fn receive(&self, mut listening: NotifyListener) {
        loop {
            let received = match timeout(KEEPALIVE_INTERVAL, listening.recv()).await {
                Ok(received) => received,
                Err(_) => match check(&mut listening).await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match received {
                Ok(Some(ReplicaChange::Projects(ids))) => {
                    for id in ids {
                        self.notifications.notify_remote(id);
                    }
                }
                Ok(Some(ReplicaChange::Unspecified)) => self.hub.request_full_poll(),
                Ok(None) => {
                    return tracing::info!(
                        "the connection that listens to other replicas was lost"
                    );
                }
                Err(error) => {
                    let error = error.with_causes();
                    return tracing::warn!(error, "cannot listen to other replicas");
                }
            }
        }
    }
}

async fn check(listening: &mut NotifyListener) -> Result<()> {
    let checked = timeout(KEEPALIVE_TIMEOUT, listening.ping()).await;
    checked.unwrap_or_else(|_| Err(Error::OutOfDate))
}

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
            let changed = collect_changes(&mut self.changes, sleep(COALESCE_DELAY)).await;
            // An empty list stands for all projects.
            let changed: Vec<_> = changed.into_iter().flatten().collect();
            // Polling finds the changes of lost notifications.
            if let Err(error) = self.channel.send(&changed).await {
                let error = error.with_causes();
                tracing::warn!(error, "cannot notify other replicas of changes");
            }
        }
    }
}
