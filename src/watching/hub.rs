use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use super::feed::{Feed, Head};
use crate::{
    domain::{Event, ProjectId, UserId},
    error::{Error, Result},
};

/// How many watches there may be.
#[derive(Debug, Clone, Copy)]
pub struct WatchLimits {
    /// Of this replica.
    pub all: u32,
    /// Of one user, and of the programs that act for the user.
    pub each: u32,
}

/// The watches of this replica. A clone shares them.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: WatchLimits,
    watches: Mutex<Watches>,
    missed: Notify,
}

#[derive(Debug, Default)]
struct Watches {
    count: u32,
    of_users: HashMap<UserId, u32>,
    of_projects: HashMap<ProjectId, (u32, Arc<Feed>)>,
}

/// A watch of one project. The project's feed is gone with its last watch.
pub struct Watch {
    hub: Hub,
    user: UserId,
    project_id: ProjectId,
    feed: Arc<Feed>,
    head: watch::Receiver<Head>,
}

impl Hub {
    /// A hub without watches.
    pub fn new(limits: WatchLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits,
                watches: Mutex::default(),
                missed: Notify::new(),
            }),
        }
    }

    /// A watch of a project by a user; `TooManyWatches` if there are as many as there may be.
    pub fn watch(&self, user: UserId, project_id: ProjectId) -> Result<Watch> {
        let mut watches = self.watches();
        let of_user = watches.of_users.get(&user).copied().unwrap_or_default();
        if watches.count >= self.shared.limits.all || of_user >= self.shared.limits.each {
            return Err(Error::TooManyWatches);
        }
        watches.count += 1;
        watches.of_users.insert(user, of_user + 1);
        let (of_project, feed) = watches.of_projects.entry(project_id).or_default();
        *of_project += 1;
        Ok(Watch {
            hub: self.clone(),
            user,
            project_id,
            head: feed.head(),
            feed: Arc::clone(feed),
        })
    }

    /// How many watches there are, and how many there may be.
    pub fn load(&self) -> (u32, u32) {
        (self.watches().count, self.shared.limits.all)
    }

    /// Says that something may have changed anywhere.
    pub(super) fn missed(&self) {
        self.shared.missed.notify_one();
    }

    /// Waits until somebody says so.
    pub(super) async fn until_missed(&self) {
        self.shared.missed.notified().await;
    }

    /// The feeds of all projects that are watched.
    pub(super) fn feeds(&self) -> Vec<(ProjectId, Arc<Feed>)> {
        let watches = self.watches();
        let feeds = watches.of_projects.iter();
        feeds
            .map(|(id, (_, feed))| (*id, Arc::clone(feed)))
            .collect()
    }

    /// The feeds of those of these projects that are watched.
    pub(super) fn feeds_of(
        &self,
        ids: impl IntoIterator<Item = ProjectId>,
    ) -> Vec<(ProjectId, Arc<Feed>)> {
        let watches = self.watches();
        ids.into_iter()
            .filter_map(|id| {
                let (_, feed) = watches.of_projects.get(&id)?;
                Some((id, Arc::clone(feed)))
            })
            .collect()
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        let watches = self.shared.watches.lock();
        watches.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Tells at which revision the watch begins.
    pub fn begin_at(&self, revision: i64) {
        self.feed.begin_at(revision);
    }

    /// The project.
    pub fn project_id(&self) -> ProjectId {
        self.project_id
    }

    /// What is known of the project.
    pub fn head(&mut self) -> Head {
        *self.head.borrow_and_update()
    }

    /// Waits until more is known than [`head`](Self::head) told.
    pub async fn changed(&mut self) {
        // It lives as long as the feed, which this keeps.
        let _ = self.head.changed().await;
    }

    /// The events after a revision; `None` if they have to be read from the database.
    pub fn after(&self, revision: i64) -> Option<Vec<Arc<Event>>> {
        self.feed.after(revision)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.hub.watches();
        watches.count -= 1;
        if let Some(of_user) = watches.of_users.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                watches.of_users.remove(&self.user);
            }
        }
        if let Some((of_project, _)) = watches.of_projects.get_mut(&self.project_id) {
            *of_project -= 1;
            if *of_project == 0 {
                watches.of_projects.remove(&self.project_id);
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("project_id", &self.project_id)
            .field("head", &*self.head.borrow())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Hub, WatchLimits};
    use crate::domain::{ProjectId, UserId};

    #[test]
    fn there_are_as_many_watches_as_allowed_and_each_that_ends_makes_room() {
        let hub = Hub::new(WatchLimits { all: 3, each: 2 });
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
    fn a_feed_is_shared_and_gone_with_the_last_watch() {
        let hub = Hub::new(WatchLimits { all: 9, each: 9 });
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
