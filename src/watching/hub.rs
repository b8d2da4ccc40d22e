use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::feed::{ProjectFeed, ProjectHead};
use crate::{
    domain::{Event, ProjectId, UserId},
    error::{Error, Result},
};

/// The limits of concurrent watches.
#[derive(Debug, Clone, Copy)]
pub struct WatchLimits {
    /// For this replica.
    pub total: u32,
    /// For one user, including the programs that act for the user.
    pub per_user: u32,
}

/// The watches of this replica. A clone shares them.
#[derive(Debug, Clone)]
pub struct WatchHub {
    state: Arc<HubState>,
}

#[derive(Debug)]
struct HubState {
    limits: WatchLimits,
    watches: Mutex<Watches>,
    full_poll: Notify,
}

#[derive(Debug, Default)]
struct Watches {
    count: u32,
    by_user: HashMap<UserId, u32>,
    by_project: HashMap<ProjectId, (u32, Arc<ProjectFeed>)>,
}

/// A watch of one project. Dropping the project's last watch drops its feed.
#[derive(Debug)]
pub struct ProjectWatch {
    hub: WatchHub,
    user: UserId,
    project_id: ProjectId,
    feed: Arc<ProjectFeed>,
    head: watch::Receiver<ProjectHead>,
}

impl WatchHub {
    /// A hub without watches.
    pub fn new(limits: WatchLimits) -> Self {
        Self {
            state: Arc::new(HubState {
                limits,
                watches: Mutex::default(),
                full_poll: Notify::new(),
            }),
        }
    }

    /// Begins a watch of a project by a user; `TooManyWatches` above a limit.
    pub fn watch(&self, user: UserId, project_id: ProjectId) -> Result<ProjectWatch> {
        let mut watches = self.watches();
        let of_user = watches.by_user.get(&user).copied().unwrap_or_default();
        if watches.count >= self.state.limits.total || of_user >= self.state.limits.per_user {
            return Err(Error::TooManyWatches);
        }
        watches.count += 1;
        watches.by_user.insert(user, of_user + 1);
        let (of_project, feed) = watches.by_project.entry(project_id).or_default();
        *of_project += 1;
        Ok(ProjectWatch {
            hub: self.clone(),
            user,
            project_id,
            head: feed.head(),
            feed: Arc::clone(feed),
        })
    }

    /// The number of watches and their limit.
    pub fn load(&self) -> (u32, u32) {
        (self.watches().count, self.state.limits.total)
    }

    /// Requests a poll of all watched projects.
    pub(super) fn request_full_poll(&self) {
        self.state.full_poll.notify_one();
    }

    /// Waits for a request to poll all watched projects.
    pub(super) async fn full_poll_requested(&self) {
        self.state.full_poll.notified().await;
    }

    /// The feeds of all watched projects.
    pub(super) fn feeds(&self) -> Vec<(ProjectId, Arc<ProjectFeed>)> {
        let watches = self.watches();
        let feeds = watches.by_project.iter();
        feeds
            .map(|(id, (_, feed))| (*id, Arc::clone(feed)))
            .collect()
    }

    /// The feeds of these projects, without unwatched ones.
    pub(super) fn feeds_of(
        &self,
        ids: impl IntoIterator<Item = ProjectId>,
    ) -> Vec<(ProjectId, Arc<ProjectFeed>)> {
        let watches = self.watches();
        ids.into_iter()
            .filter_map(|id| {
                let (_, feed) = watches.by_project.get(&id)?;
                Some((id, Arc::clone(feed)))
            })
            .collect()
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.state.watches.lock()
    }
}

impl ProjectWatch {
    /// Sets the revision from which the feed holds events, unless it is known.
    pub fn begin_at(&self, revision: i64) {
        self.feed.begin_at(revision);
    }

    /// The project.
    pub fn project_id(&self) -> ProjectId {
        self.project_id
    }

    /// The known state of the project.
    pub fn head(&mut self) -> ProjectHead {
        *self.head.borrow_and_update()
    }

    /// Waits for a change of the state since [`head`](Self::head).
    pub async fn changed(&mut self) {
        // Cannot fail: `feed` holds the sender.
        let _ = self.head.changed().await;
    }

    /// The events after a revision; `None` if they must be read from the database.
    pub fn after(&self, revision: i64) -> Option<Vec<Arc<Event>>> {
        self.feed.after(revision)
    }
}

impl Drop for ProjectWatch {
    fn drop(&mut self) {
        let mut watches = self.hub.watches();
        watches.count -= 1;
        if let Some(of_user) = watches.by_user.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                watches.by_user.remove(&self.user);
            }
        }
        if let Some((of_project, _)) = watches.by_project.get_mut(&self.project_id) {
            *of_project -= 1;
            if *of_project == 0 {
                watches.by_project.remove(&self.project_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WatchHub, WatchLimits};
    use crate::domain::{ProjectId, UserId};

    #[test]
    fn watches_are_limited_and_a_dropped_watch_makes_room() {
        let hub = WatchHub::new(WatchLimits {
            total: 3,
            per_user: 2,
        });
        let (ada, ben, project) = (
            UserId::generate(),
            UserId::generate(),
            ProjectId::generate(),
        );

        let first = hub.watch(ada, project).unwrap();
        let _second = hub.watch(ada, project).unwrap();
        assert!(hub.watch(ada, project).is_err());
        let third = hub.watch(ben, project).unwrap();
        assert!(hub.watch(ben, project).is_err());
        drop(first);
        let _fourth = hub.watch(ben, project).unwrap();
        assert!(hub.watch(ada, project).is_err());
        drop(third);
        assert!(hub.watch(ada, project).is_ok());
    }

    #[test]
    fn a_feed_is_shared_and_dropped_with_the_last_watch() {
        let hub = WatchHub::new(WatchLimits {
            total: 9,
            per_user: 9,
        });
        let project = ProjectId::generate();
        let first = hub.watch(UserId::generate(), project).unwrap();
        let second = hub.watch(UserId::generate(), project).unwrap();
        assert_eq!(hub.feeds().len(), 1);

        drop(first);
        assert_eq!(hub.feeds_of([project]).len(), 1);
        drop(second);
        assert!(hub.feeds().is_empty());
        assert!(hub.feeds_of([project]).is_empty());
    }
}
