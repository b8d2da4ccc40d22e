use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    WatchHub,
    feed::{ProjectFeed, ProjectHead, WatchOptions},
    wake::Wake,
};
use crate::{
    domain::{Event, LiveStream, OrganizationId, ProjectId, Refusal, Tenant, UserId},
    error::Result,
};

/// The number of projects for which a watch counts as one against the limits.
const PROJECTS_PER_WATCH: usize = 100;

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
    /// The organization whose created projects are reported.
    followed: Option<OrganizationId>,
    feeds: HashMap<ProjectId, Arc<ProjectFeed>>,
}

/// What has changed of a watch.
#[derive(Debug, Default)]
pub struct WatchChanges {
    /// Its projects that have changed.
    pub changed: HashSet<ProjectId>,
    /// The projects that were created, or have moved to the organization.
    pub created: HashSet<ProjectId>,
    /// Whether memberships of its user may have ended.
    pub memberships: bool,
}

impl Watch {
    /// Begins a watch by a user, without projects yet; `TooManyWatches` above a limit.
    pub fn begin(hub: &WatchHub, user: UserId, options: WatchOptions) -> Result<Self> {
        let wake = Arc::default();
        Ok(Self {
            number: hub.register(user, Arc::clone(&wake))?,
            hub: hub.clone(),
            user,
            options,
            wake,
            weight: 1,
            followed: None,
            feeds: HashMap::new(),
        })
    }

    /// Adds projects that it does not contain yet; `TooManyWatches` above a limit.
    pub fn add(&mut self, ids: &[ProjectId]) -> Result<()> {
        let size = self.feeds.len() + ids.len();
        let needed = u32::try_from(size.div_ceil(PROJECTS_PER_WATCH)).unwrap_or(u32::MAX);
        let more = needed.saturating_sub(self.weight);
        let feeds = self.hub.subscribe(self.user, more, ids, |feed| {
            feed.subscribe(self.number, Arc::clone(&self.wake), self.options);
        })?;
        self.weight += more;
        self.feeds.extend(feeds);
        Ok(())
    }

    /// Reports the projects that are created in the tenant's organization from now on, in
    /// [`take_changed`](Self::take_changed).
    pub fn follow_created(&mut self, tenant: Tenant) {
        // A restricted key gets no further projects.
        if !tenant.restricted {
            self.followed = Some(tenant.organization);
            let wake = Arc::clone(&self.wake);
            self.hub
                .follow_created(tenant.organization, self.number, wake);
        }
    }

    /// Removes a project.
    pub fn remove(&mut self, id: ProjectId) {
        if self.feeds.remove(&id).is_some() {
            self.hub.unsubscribe(self.number, id);
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

    /// Takes what has changed since the last call.
    pub fn take_changed(&self) -> WatchChanges {
        let (mut changed, mut created, memberships) = self.wake.take();
        changed.retain(|id| self.feeds.contains_key(id));
        created.retain(|id| !self.feeds.contains_key(id));
        WatchChanges {
            changed,
            created,
            memberships,
        }
    }

    /// Its projects.
    pub fn projects(&self) -> Vec<ProjectId> {
        self.feeds.keys().copied().collect()
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

impl Drop for Watch {
    fn drop(&mut self) {
        let ids = self.feeds.keys();
        self.hub
            .unregister(self.user, self.number, self.weight, self.followed, ids);
    }
}

#[cfg(test)]
mod tests {
    use super::{Watch, WatchHub, WatchOptions};
    use crate::{
        domain::{OrganizationId, ProjectId, Tenant, UserId},
        watching::WatchLimits,
    };

    fn hub(total: u32, per_user: u32) -> WatchHub {
        WatchHub::new(WatchLimits { total, per_user })
    }

    fn watch(hub: &WatchHub, user: UserId, projects: &[ProjectId]) -> Watch {
        let mut watch = Watch::begin(hub, user, WatchOptions::default()).unwrap();
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
        let begin = |user| Watch::begin(&hub, user, WatchOptions::default());

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
        let changes = watch.take_changed();
        assert_eq!(changes.changed, projects[..2].iter().copied().collect());
        assert!(changes.created.is_empty());
        assert!(watch.take_changed().changed.is_empty());
    }

    #[test]
    fn created_projects_are_reported_to_the_watches_of_all_projects_of_their_organization() {
        let hub = hub(9, 9);
        let tenant = Tenant::of_user(UserId::generate());
        let mut of_all = watch(&hub, tenant.user, &[]);
        of_all.follow_created(tenant);
        let of_none = watch(&hub, tenant.user, &[]);
        assert_eq!(hub.organizations_of_all(), [tenant.organization]);

        let created = ProjectId::generate();
        hub.report_created(tenant.organization, created);
        hub.report_created(OrganizationId::generate(), ProjectId::generate());
        assert_eq!(of_all.take_changed().created, [created].into());
        assert!(of_none.take_changed().created.is_empty());

        drop(of_all);
        assert!(hub.organizations_of_all().is_empty());
    }

    #[test]
    fn the_watches_of_a_user_learn_that_a_membership_has_ended() {
        let hub = hub(9, 9);
        let (ada, ben) = (UserId::generate(), UserId::generate());
        let organization = OrganizationId::generate();
        let (of_ada, of_ben) = (watch(&hub, ada, &[]), watch(&hub, ben, &[]));
        let both = [(ada, organization), (ben, organization)];

        // A membership may have ended before it was read for the first time.
        hub.report_memberships(&[ada, ben], &both);
        assert!(of_ada.take_changed().memberships);
        assert!(of_ben.take_changed().memberships);
        hub.report_memberships(&[ada, ben], &both);
        assert!(!of_ada.take_changed().memberships);

        hub.report_memberships(&[ada, ben], &both[1..]);
        assert!(of_ada.take_changed().memberships);
        assert!(!of_ben.take_changed().memberships);
    }
}
