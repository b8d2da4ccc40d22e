use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    feed::{ProjectFeed, ProjectHead, WatchOptions},
    wake::Wake,
};
use crate::{
    domain::{Event, LiveStream, ProjectId, Refusal, Tenant, UserId},
    error::{Error, Result},
};

/// The number of projects for which a watch counts as one against the limits.
const PROJECTS_PER_WATCH: usize = 100;

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
    /// The number of the newest watch.
    newest: u64,
    /// The watches, each counted as often as its number of projects requires.
    count: u32,
    by_user: HashMap<UserId, u32>,
    by_project: HashMap<ProjectId, (u32, Arc<ProjectFeed>)>,
    /// The watches of all projects of a user, by their numbers.
    of_all: HashMap<UserId, HashMap<u64, Arc<Wake>>>,
}

/// A watch of projects. Dropping a project's last watch drops its feed.
#[derive(Debug)]
pub struct Watch {
    hub: WatchHub,
    number: u64,
    user: UserId,
    options: WatchOptions,
    wake: Arc<Wake>,
    /// How often it counts.
    weight: u32,
    feeds: HashMap<ProjectId, Arc<ProjectFeed>>,
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

    /// Begins a watch by a user, without projects yet; `TooManyWatches` above a limit.
    pub fn watch(&self, user: UserId, options: WatchOptions) -> Result<Watch> {
        let mut watches = self.watches();
        watches.newest += 1;
        let number = watches.newest;
        self.count(&mut watches, user, 1)?;
        Ok(Watch {
            hub: self.clone(),
            number,
            user,
            options,
            wake: Arc::default(),
            weight: 1,
            feeds: HashMap::new(),
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

    /// The users of whom all projects are watched.
    pub(super) fn users_of_all(&self) -> Vec<UserId> {
        self.watches().of_all.keys().copied().collect()
    }

    /// Reports a created project to the watches of all projects of its owner.
    pub(super) fn report_created(&self, owner: UserId, id: ProjectId) {
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

    /// Counts a watch `more` times.
    fn count(&self, watches: &mut Watches, user: UserId, more: u32) -> Result<()> {
        let limits = self.state.limits;
        let of_user = watches.by_user.get(&user).copied().unwrap_or_default();
        let (total, of_user) = (
            watches.count.saturating_add(more),
            of_user.saturating_add(more),
        );
        if total > limits.total || of_user > limits.per_user {
            return Err(Error::TooManyWatches);
        }
        watches.count = total;
        watches.by_user.insert(user, of_user);
        Ok(())
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.state.watches.lock()
    }
}

impl Watch {
    /// Adds projects that it does not contain yet; `TooManyWatches` above a limit.
    pub fn add(&mut self, ids: &[ProjectId]) -> Result<()> {
        let mut watches = self.hub.watches();
        let size = self.feeds.len() + ids.len();
        let weight = u32::try_from(size.div_ceil(PROJECTS_PER_WATCH)).unwrap_or(u32::MAX);
        if let Some(more) = weight.checked_sub(self.weight).filter(|more| *more > 0) {
            self.hub.count(&mut watches, self.user, more)?;
            self.weight = weight;
        }
        for id in ids {
            let feed = || (0, Arc::new(ProjectFeed::new(*id)));
            let (count, feed) = watches.by_project.entry(*id).or_insert_with(feed);
            *count += 1;
            feed.subscribe(self.number, Arc::clone(&self.wake), self.options);
            self.feeds.insert(*id, Arc::clone(feed));
        }
        Ok(())
    }

    /// Reports the projects that its user creates from now on, in
    /// [`take_changed`](Self::take_changed).
    pub fn follow_created(&self, tenant: Tenant) {
        // A restricted key gets no further projects.
        if tenant.restricted_to.is_none() {
            let mut watches = self.hub.watches();
            let of_user = watches.of_all.entry(self.user).or_default();
            of_user.insert(self.number, Arc::clone(&self.wake));
        }
    }

    /// Removes a project.
    pub fn remove(&mut self, id: ProjectId) {
        if self.feeds.remove(&id).is_some() {
            self.hub.watches().release(id, self.number);
        }
    }

    /// The number of projects.
    pub fn len(&self) -> usize {
        self.feeds.len()
    }

    /// Whether it has no projects.
    pub fn is_empty(&self) -> bool {
        self.feeds.is_empty()
    }

    /// Takes the projects that have changed since the last call, and those that were created.
    pub fn take_changed(&self) -> (HashSet<ProjectId>, HashSet<ProjectId>) {
        let (mut changed, mut created) = self.wake.take();
        changed.retain(|id| self.feeds.contains_key(id));
        created.retain(|id| !self.feeds.contains_key(id));
        (changed, created)
    }

    /// Waits for a change.
    pub async fn changed(&self) {
        self.wake.woken().await;
    }

    /// Sets the revision from which the feed of a project holds events, unless it is known.
    pub fn begin_at(&self, id: ProjectId, revision: i64) {
        if let Some(feed) = self.feeds.get(&id) {
            feed.begin_at(revision);
        }
    }

    /// The known state of a project.
    pub fn head(&self, id: ProjectId) -> ProjectHead {
        let feed = self.feeds.get(&id);
        feed.map(|feed| feed.head()).unwrap_or_default()
    }

    /// The events of a project after a revision; `None` if they must be read from the
    /// database.
    pub fn after(&self, id: ProjectId, revision: i64) -> Option<Vec<Arc<Event>>> {
        self.feeds.get(&id)?.after(revision)
    }

    /// The refused publishes of a project after a number, each with its number.
    pub fn refusals_after(&self, id: ProjectId, number: u64) -> Vec<(u64, Arc<Refusal>)> {
        let feed = self.feeds.get(&id).filter(|_| self.options.refusals);
        feed.map(|feed| feed.refusals_after(number))
            .unwrap_or_default()
    }

    /// The statistics of a project with their number, if they are newer than a number.
    pub fn stats_after(&self, id: ProjectId, number: u64) -> Option<(u64, Arc<LiveStream>)> {
        let feed = self.feeds.get(&id).filter(|_| self.options.stats)?;
        feed.stats_after(number)
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

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.hub.watches();
        watches.count -= self.weight;
        if let Some(of_user) = watches.by_user.get_mut(&self.user) {
            *of_user -= self.weight;
            if *of_user == 0 {
                watches.by_user.remove(&self.user);
            }
        }
        if let Some(of_user) = watches.of_all.get_mut(&self.user) {
            of_user.remove(&self.number);
            if of_user.is_empty() {
                watches.of_all.remove(&self.user);
            }
        }
        for id in self.feeds.keys() {
            watches.release(*id, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Watch, WatchHub, WatchLimits, WatchOptions};
    use crate::domain::{ProjectId, Tenant, UserId};

    fn hub(total: u32, per_user: u32) -> WatchHub {
        WatchHub::new(WatchLimits { total, per_user })
    }

    fn watch(hub: &WatchHub, user: UserId, projects: &[ProjectId]) -> Watch {
        let mut watch = hub.watch(user, WatchOptions::default()).unwrap();
        watch.add(projects).unwrap();
        watch
    }

    fn ids(count: usize) -> Vec<ProjectId> {
        (0..count).map(|_| ProjectId::generate()).collect()
    }

    #[test]
    fn watches_are_limited_and_a_dropped_watch_makes_room() {
        let hub = hub(3, 2);
        let (ada, ben) = (UserId::generate(), UserId::generate());
        let begin = |user| hub.watch(user, WatchOptions::default());

        let first = begin(ada).unwrap();
        let _second = begin(ada).unwrap();
        assert!(begin(ada).is_err());
        let third = begin(ben).unwrap();
        assert!(begin(ben).is_err());
        drop(first);
        let _fourth = begin(ben).unwrap();
        assert!(begin(ada).is_err());
        drop(third);
        assert!(begin(ada).is_ok());
    }

    #[test]
    fn a_watch_counts_once_for_each_started_hundred_projects() {
        let hub = hub(9, 3);
        let user = UserId::generate();
        let mut large = watch(&hub, user, &ids(100));
        assert_eq!(hub.load().0, 1);

        large.add(&ids(1)).unwrap();
        assert_eq!(hub.load().0, 2);
        large.add(&ids(99)).unwrap();
        let _small = watch(&hub, user, &ids(1));
        assert_eq!(hub.load().0, 3);
        assert!(large.add(&ids(1)).is_err());
        assert_eq!(large.len(), 200);

        drop(large);
        assert_eq!(hub.load().0, 1);
    }

    #[test]
    fn a_feed_is_shared_and_dropped_with_the_last_watch() {
        let hub = hub(9, 9);
        let project = ProjectId::generate();
        let first = watch(&hub, UserId::generate(), &[project]);
        let mut second = watch(&hub, UserId::generate(), &[project]);
        assert_eq!(hub.feeds().len(), 1);

        drop(first);
        assert_eq!(hub.feeds_of([project]).len(), 1);
        second.remove(project);
        assert!(hub.feeds().is_empty());
        assert!(hub.feeds_of([project]).is_empty());
    }

    #[test]
    fn a_watch_learns_which_of_its_projects_changed() {
        let hub = hub(9, 9);
        let projects = ids(3);
        let watch = watch(&hub, UserId::generate(), &projects);

        for (_, feed) in hub.feeds_of(projects[..2].iter().copied()) {
            feed.begin_at(1);
            feed.advance_to(2);
        }
        let (changed, created) = watch.take_changed();
        assert_eq!(changed, projects[..2].iter().copied().collect());
        assert!(created.is_empty());
        assert!(watch.take_changed().0.is_empty());
    }

    #[test]
    fn created_projects_are_reported_to_the_watches_of_all_projects_of_their_owner() {
        let hub = hub(9, 9);
        let tenant = Tenant {
            user: UserId::generate(),
            restricted_to: None,
        };
        let of_all = watch(&hub, tenant.user, &[]);
        of_all.follow_created(tenant);
        let of_none = watch(&hub, tenant.user, &[]);
        assert_eq!(hub.users_of_all(), [tenant.user]);

        let created = ProjectId::generate();
        hub.report_created(tenant.user, created);
        hub.report_created(UserId::generate(), ProjectId::generate());
        assert_eq!(of_all.take_changed().1, [created].into());
        assert!(of_none.take_changed().1.is_empty());

        drop(of_all);
        assert!(hub.users_of_all().is_empty());
    }
}
