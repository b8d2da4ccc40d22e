//! Hints that something has changed, so that those who wait look at once.
//!
//! They are never needed: who waits also looks from time to time, and finds what
//! a lost hint missed. So nothing here waits, and nothing fails.

use tokio::sync::broadcast;

use crate::{domain::ProjectId, telemetry::metrics::LIVE};

/// How many hints are kept for a receiver that is slow; one that missed some is
/// told so, and has to look everywhere.
const KEPT: usize = 1024;

/// Tells of projects that have changed. A clone shares the receivers.
#[derive(Debug, Clone)]
pub struct Hints {
    /// What this process changed: to be told to others.
    own: broadcast::Sender<ProjectId>,
    /// What anybody changed, as far as this process knows.
    all: broadcast::Sender<ProjectId>,
}

impl Hints {
    /// Tells that this process has changed a project.
    pub(crate) fn changed(&self, id: ProjectId) {
        LIVE.changed();
        // There may be nobody who listens.
        let _ = self.own.send(id);
        let _ = self.all.send(id);
    }

    /// Tells that another process has.
    pub fn heard(&self, id: ProjectId) {
        LIVE.heard();
        let _ = self.all.send(id);
    }

    /// What this process changes from now on.
    pub fn own(&self) -> broadcast::Receiver<ProjectId> {
        self.own.subscribe()
    }

    /// What anybody changes from now on.
    pub fn all(&self) -> broadcast::Receiver<ProjectId> {
        self.all.subscribe()
    }
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            own: broadcast::Sender::new(KEPT),
            all: broadcast::Sender::new(KEPT),
        }
    }
}
