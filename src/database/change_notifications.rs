//! Notifications of changed projects within this process.
//!
//! They only save time: every receiver also polls, and so finds a change whose
//! notification was lost. Therefore sending neither waits nor fails.

use tokio::sync::broadcast;

use crate::{domain::ProjectId, telemetry::metrics::SERVER};

/// The number of notifications that are kept for a slow receiver. A receiver that missed
/// some gets an error, and has to check every project.
const CAPACITY: usize = 1024;

/// Broadcasts the projects that have changed. A clone shares the receivers.
#[derive(Debug, Clone)]
pub struct ChangeNotifications {
    /// Changes by this process, which are sent to other replicas.
    local: broadcast::Sender<ProjectId>,
    /// Changes by any replica.
    all: broadcast::Sender<ProjectId>,
}

impl ChangeNotifications {
    /// Reports that this process has changed a project.
    pub(crate) fn notify(&self, id: ProjectId) {
        SERVER.changes.inc();
        // There may be no receiver.
        let _ = self.local.send(id);
        let _ = self.all.send(id);
    }

    /// Reports that another replica has changed a project.
    pub fn notify_remote(&self, id: ProjectId) {
        SERVER.change_notifications.inc();
        let _ = self.all.send(id);
    }

    /// The changes by this process from now on.
    pub fn subscribe_local(&self) -> broadcast::Receiver<ProjectId> {
        self.local.subscribe()
    }

    /// The changes by any replica from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<ProjectId> {
        self.all.subscribe()
    }
}

impl Default for ChangeNotifications {
    fn default() -> Self {
        Self {
            local: broadcast::Sender::new(CAPACITY),
            all: broadcast::Sender::new(CAPACITY),
        }
    }
}
