use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    feed::{ProjectFeed, WatchOptions},
    wake::Wake,
};
use crate::{
    domain::{OrganizationId, ProjectId, UserId},
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
    watched_changed: Notify,
}

#[derive(Debug, Default)]
struct Watches {
    /// The number of the newest watch.
    newest: u64,
    /// The watches, each counted as often as its number of projects requires.
    count: u32,
    by_user: HashMap<UserId, WatchesOfUser>,
    by_project: HashMap<ProjectId, (u32, Arc<ProjectFeed>)>,
    /// The watches of all projects of an organization, by their numbers.
    of_all: HashMap<OrganizationId, HashMap<u64, Arc<Wake>>>,
}

/// The watches of a user.
#[derive(Debug, Default)]
struct WatchesOfUser {
    /// As often as they count.
    count: u32,
    /// By their numbers.
    wakes: HashMap<u64, Arc<Wake>>,
    /// The organizations of which the user was a member when they were last read.
    memberships: HashSet<OrganizationId>,
    /// The newest watch that was there when they were last read.
    read_for: u64,
}

impl WatchHub {
    /// A hub without watches.
    pub fn new(limits: WatchLimits) -> Self {
        Self {
            state: Arc::new(HubState {
                limits,
                watches: Mutex::default(),
                full_poll: Notify::new(),
                watched_changed: Notify::new(),
            }),
        }
    }

    /// Counts a new watch by a user; `TooManyWatches` above a limit. Returns its number.
    pub(super) fn register(&self, user: UserId, wake: Arc<Wake>) -> Result<u64> {
        let mut watches = self.watches();
        watches.newest += 1;
        let number = watches.newest;
        self.count(&mut watches, user, 1)?;
        let of_user = watches.by_user.entry(user).or_default();
        of_user.wakes.insert(number, wake);
        Ok(number)
    }

    /// Counts a watch `more` times, and adds projects to it; returns their feeds.
    pub(super) fn subscribe(
        &self,
        user: UserId,
        more: u32,
        ids: &[ProjectId],
        subscribe: impl Fn(&ProjectFeed),
    ) -> Result<Vec<(ProjectId, Arc<ProjectFeed>)>> {
        let mut watches = self.watches();
        if more > 0 {
            self.count(&mut watches, user, more)?;
        }
        let feeds = ids.iter().map(|id| {
            let feed = || (0, Arc::new(ProjectFeed::new(*id)));
            let (count, feed) = watches.by_project.entry(*id).or_insert_with(feed);
            *count += 1;
            subscribe(feed);
            (*id, Arc::clone(feed))
        });
        let feeds = feeds.collect();
        self.state.watched_changed.notify_one();
        Ok(feeds)
    }

    /// Removes a project of a watch.
    pub(super) fn unsubscribe(&self, number: u64, id: ProjectId) {
        self.watches().release(id, number);
        self.state.watched_changed.notify_one();
    }

    /// Adds a watch of all projects of an organization.
    pub(super) fn follow_created(
        &self,
        organization: OrganizationId,
        number: u64,
        wake: Arc<Wake>,
    ) {
        let mut watches = self.watches();
        let of_all = watches.of_all.entry(organization).or_default();
        of_all.insert(number, wake);
    }

    /// Removes a watch that counts `weight` times, of all projects of `followed`, if that is given.
    pub(super) fn unregister<'a>(
        &self,
        user: UserId,
        number: u64,
        weight: u32,
        followed: Option<OrganizationId>,
        ids: impl Iterator<Item = &'a ProjectId>,
    ) {
        let mut watches = self.watches();
        watches.count -= weight;
        if let Some(of_user) = watches.by_user.get_mut(&user) {
            of_user.count -= weight;
            of_user.wakes.remove(&number);
            if of_user.count == 0 {
                watches.by_user.remove(&user);
            }
        }
        if let Some(organization) = followed
            && let Some(of_all) = watches.of_all.get_mut(&organization)
        {
            of_all.remove(&number);
            if of_all.is_empty() {
                watches.of_all.remove(&organization);
            }
        }
        for id in ids {
            watches.release(*id, number);
        }
        self.state.watched_changed.notify_one();
    }

    /// The number of watches and their limit.
    pub fn load(&self) -> (u32, u32) {
        (self.watches().count, self.state.limits.total)
    }

    /// The watched projects; `None` if they are more than `limit`.
    pub(crate) fn watched(&self, limit: usize) -> Option<Vec<ProjectId>> {
        let watches = self.watches();
        let is_within = watches.by_project.len() <= limit;
        is_within.then(|| watches.by_project.keys().copied().collect())
    }

    /// Waits until projects may have become watched or unwatched since the last call. Only one task
    /// can wait.
    pub(crate) async fn watched_changed(&self) {
        self.state.watched_changed.notified().await;
    }

    /// Requests a poll of all watched projects.
    pub(crate) fn request_full_poll(&self) {
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

    /// The feeds of the projects that have a watch with these options.
    pub(super) fn feeds_that_want(
        &self,
        is_wanted: impl Fn(WatchOptions) -> bool,
    ) -> HashMap<ProjectId, Arc<ProjectFeed>> {
        let mut feeds = self.feeds();
        feeds.retain(|(_, feed)| feed.is_wanted(&is_wanted));
        feeds.into_iter().collect()
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

    /// The organizations of which all projects are watched.
    pub(super) fn organizations_of_all(&self) -> Vec<OrganizationId> {
        self.watches().of_all.keys().copied().collect()
    }

    /// Reports a created project to the watches of all projects of its organization.
    pub(super) fn report_created(&self, owner: OrganizationId, id: ProjectId) {
        let watches = self.watches();
        for wake in watches
            .of_all
            .get(&owner)
            .into_iter()
            .flat_map(HashMap::values)
        {
            wake.mark_created(id);
        }
    }

    /// The users who watch.
    pub(super) fn users(&self) -> Vec<UserId> {
        self.watches().by_user.keys().copied().collect()
    }

    /// Reports all memberships of these users. Wakes the watches of users of whom one has ended, and
    /// those that have begun since the last report: one may have ended in between.
    pub(super) fn report_memberships(
        &self,
        users: &[UserId],
        memberships: &[(UserId, OrganizationId)],
    ) {
        let mut current: HashMap<UserId, HashSet<OrganizationId>> = HashMap::new();
        for (user, organization) in memberships {
            current.entry(*user).or_default().insert(*organization);
        }
        let mut watches = self.watches();
        let newest = watches.newest;
        for user in users {
            let Some(of_user) = watches.by_user.get_mut(user) else {
                continue;
            };
            let current = current.remove(user).unwrap_or_default();
            let has_ended = !of_user.memberships.is_subset(&current);
            for (number, wake) in &of_user.wakes {
                if has_ended || *number > of_user.read_for {
                    wake.mark_memberships();
                }
            }
            of_user.memberships = current;
            of_user.read_for = newest;
        }
    }

    /// Counts a watch `more` times.
    fn count(&self, watches: &mut Watches, user: UserId, more: u32) -> Result<()> {
        let limits = self.state.limits;
        let of_user = watches.by_user.get(&user).map_or(0, |one| one.count);
        let (total, of_user) = (
            watches.count.saturating_add(more),
            of_user.saturating_add(more),
        );
        if total > limits.total || of_user > limits.per_user {
            return Err(Error::TooManyWatches);
        }
        watches.count = total;
        watches.by_user.entry(user).or_default().count = of_user;
        Ok(())
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.state.watches.lock()
    }
}

impl Watches {
    /// Removes a project of a watch.
    fn release(&mut self, id: ProjectId, number: u64) {
        if let Some((count, feed)) = self.by_project.get_mut(&id) {
            feed.unsubscribe(number);
            *count -= 1;
            if *count == 0 {
                self.by_project.remove(&id);
            }
        }
    }
}
