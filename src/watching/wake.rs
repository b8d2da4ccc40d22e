use std::{collections::HashSet, mem};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::ProjectId;

/// The projects of one watch that have changed since it last looked.
///
/// It holds each project at most once, however many changes there are, so that its size is
/// bounded by the number of projects.
#[derive(Debug, Default)]
pub(super) struct Wake {
    changed: Mutex<Changed>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Changed {
    ids: HashSet<ProjectId>,
    /// Projects that the watch does not contain yet.
    created: HashSet<ProjectId>,
    /// Whether the memberships of the user may have changed.
    memberships: bool,
}

impl Wake {
    /// Marks a project as changed, and wakes the watch.
    pub fn mark(&self, id: ProjectId) {
        self.changed.lock().ids.insert(id);
        self.notify.notify_one();
    }

    /// Reports a created project, and wakes the watch.
    pub fn mark_created(&self, id: ProjectId) {
        self.changed.lock().created.insert(id);
        self.notify.notify_one();
    }

    /// Reports that the memberships of the user may have changed, and wakes the watch.
    pub fn mark_memberships(&self) {
        self.changed.lock().memberships = true;
        self.notify.notify_one();
    }

    /// Takes the changed and the created projects, and whether memberships may have changed.
    pub fn take(&self) -> (HashSet<ProjectId>, HashSet<ProjectId>, bool) {
        let Changed {
            ids,
            created,
            memberships,
        } = mem::take(&mut *self.changed.lock());
        (ids, created, memberships)
    }

    /// Waits for a change since the last one that was waited for.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}
