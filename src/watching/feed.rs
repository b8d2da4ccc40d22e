use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;

use super::wake::Wake;
use crate::domain::{Event, LiveStream, ProjectId, Refusal};

/// The largest number of events in a feed. A watch that is further behind reads the
/// database.
pub(super) const MAX_EVENTS: i64 = 64;

/// The known state of a watched project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProjectHead {
    /// The newest known revision; 0 until one is known.
    pub revision: i64,
    /// Whether the project's row is deleted.
    pub gone: bool,
}

/// What a watch gets besides events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchOptions {
    /// Whether it gets refused publishes.
    pub refusals: bool,
    /// Whether it gets statistics.
    pub stats: bool,
}

/// The newest revision and events of one project, shared by its watches.
#[derive(Debug)]
pub(super) struct ProjectFeed {
    id: ProjectId,
    state: Mutex<FeedState>,
}

#[derive(Debug, Default)]
struct FeedState {
    head: ProjectHead,
    /// The newest events, without gaps.
    events: VecDeque<Arc<Event>>,
    /// The recently refused publishes, numbered from 1 in the order in which they were found.
    refusals: Vec<(u64, Arc<Refusal>)>,
    refusal_count: u64,
    stats: Option<Arc<LiveStream>>,
    stats_count: u64,
    /// The watches by their numbers.
    watches: HashMap<u64, (Arc<Wake>, WatchOptions)>,
}

impl FeedState {
    fn wake(&self, id: ProjectId, is_concerned: impl Fn(WatchOptions) -> bool) {
        for (wake, options) in self.watches.values() {
            if is_concerned(*options) {
                wake.mark(id);
            }
        }
    }
}

impl ProjectFeed {
    /// A feed without watches.
    pub fn new(id: ProjectId) -> Self {
        Self {
            id,
            state: Mutex::default(),
        }
    }

    /// Adds a watch, which is woken by changes.
    pub fn subscribe(&self, number: u64, wake: Arc<Wake>, options: WatchOptions) {
        self.state.lock().watches.insert(number, (wake, options));
    }

    /// Removes a watch.
    pub fn unsubscribe(&self, number: u64) {
        self.state.lock().watches.remove(&number);
    }

    /// Whether a watch wants this.
    pub fn is_wanted(&self, is_wanted: impl Fn(WatchOptions) -> bool) -> bool {
        let state = self.state.lock();
        state
            .watches
            .values()
            .any(|(_, options)| is_wanted(*options))
    }

    /// The known state.
    pub fn head(&self) -> ProjectHead {
        self.state.lock().head
    }

    /// The newest known revision; 0 until one is known.
    pub fn revision(&self) -> i64 {
        self.head().revision
    }

    /// Raises the newest known revision.
    pub fn advance_to(&self, revision: i64) {
        let mut state = self.state.lock();
        if revision > state.head.revision {
            state.head.revision = revision;
            state.wake(self.id, |_| true);
        }
    }

    /// Sets the first known revision. The feed holds events only after it.
    pub fn begin_at(&self, revision: i64) {
        let mut state = self.state.lock();
        if state.head.revision == 0 {
            state.head.revision = revision;
            state.wake(self.id, |_| true);
        }
    }

    /// Marks the project's row as deleted.
    pub fn set_gone(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.head.gone, true) {
            state.wake(self.id, |_| true);
        }
    }

    /// Adds an event. A gap before it drops the earlier events.
    pub fn push(&self, event: Event) {
        let events = &mut self.state.lock().events;
        match events.back() {
            Some(last) if event.revision <= last.revision => return,
            Some(last) if event.revision > last.revision + 1 => events.clear(),
            _ => {}
        }
        events.push_back(Arc::new(event));
        if events.len() > MAX_EVENTS as usize {
            events.pop_front();
        }
    }

    /// Drops the events. A watch that has not read them reads the database.
    pub fn clear(&self) {
        self.state.lock().events = VecDeque::new();
    }

    /// The events after a revision; `None` if the feed does not have all of them.
    pub fn after(&self, revision: i64) -> Option<Vec<Arc<Event>>> {
        let events = &self.state.lock().events;
        let first = events.front()?.revision;
        let last = events.back()?.revision;
        if first > revision + 1 || last <= revision {
            return None;
        }
        let unseen = events.iter().filter(|event| event.revision > revision);
        Some(unseen.cloned().collect())
    }

    /// Sets the recently refused publishes, oldest first: adds the new ones, and drops those
    /// that are not among them any more.
    pub fn set_refusals(&self, recent: Vec<Refusal>) {
        let mut state = self.state.lock();
        let recent_ids: HashSet<_> = recent.iter().map(|refusal| refusal.id).collect();
        state
            .refusals
            .retain(|(_, refusal)| recent_ids.contains(&refusal.id));
        let known: HashSet<_> = state.refusals.iter().map(|(_, known)| known.id).collect();
        let before = state.refusal_count;
        for refusal in recent {
            if !known.contains(&refusal.id) {
                state.refusal_count += 1;
                let number = state.refusal_count;
                state.refusals.push((number, Arc::new(refusal)));
            }
        }
        if state.refusal_count > before {
            state.wake(self.id, |options| options.refusals);
        }
    }

    /// The refused publishes after a number, each with its number.
    pub fn refusals_after(&self, number: u64) -> Vec<(u64, Arc<Refusal>)> {
        let state = self.state.lock();
        let unseen = state.refusals.iter().filter(|(at, _)| *at > number);
        unseen.cloned().collect()
    }

    /// Sets the newest statistics; `None` without a live stream.
    pub fn set_stats(&self, stats: Option<LiveStream>) {
        let mut state = self.state.lock();
        let has_stats = stats.is_some();
        state.stats = stats.map(Arc::new);
        state.stats_count += 1;
        if has_stats {
            state.wake(self.id, |options| options.stats);
        }
    }

    /// The newest statistics with their number, if they are newer than a number.
    pub fn stats_after(&self, number: u64) -> Option<(u64, Arc<LiveStream>)> {
        let state = self.state.lock();
        let stats = state.stats.clone().filter(|_| state.stats_count > number)?;
        Some((state.stats_count, stats))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_EVENTS, ProjectFeed};
    use crate::domain::{Change, Event, ProjectId, now};

    fn event(revision: i64) -> Event {
        Event {
            revision,
            create_time: now(),
            change: Change::ProjectDeleted,
        }
    }

    fn revisions(feed: &ProjectFeed, after: i64) -> Option<Vec<i64>> {
        let events = feed.after(after)?;
        Some(events.iter().map(|event| event.revision).collect())
    }

    #[test]
    fn a_watch_further_behind_than_the_feed_gets_nothing() {
        let feed = ProjectFeed::new(ProjectId::generate());
        for revision in 3..MAX_EVENTS + 10 {
            feed.push(event(revision));
        }
        let (last, first) = (MAX_EVENTS + 9, 10);

        assert_eq!(revisions(&feed, first - 2), None);
        let all: Vec<_> = (first..=last).collect();
        assert_eq!(revisions(&feed, first - 1), Some(all));
        assert_eq!(revisions(&feed, last - 1), Some(vec![last]));
        assert_eq!(revisions(&feed, last), None);
    }

    #[test]
    fn the_events_have_no_gaps_and_no_duplicates() {
        let feed = ProjectFeed::new(ProjectId::generate());
        for revision in [5, 6, 6, 5, 7] {
            feed.push(event(revision));
        }
        assert_eq!(revisions(&feed, 4), Some(vec![5, 6, 7]));

        feed.push(event(9));
        assert_eq!(revisions(&feed, 7), None);
        assert_eq!(revisions(&feed, 8), Some(vec![9]));

        feed.clear();
        assert_eq!(revisions(&feed, 8), None);
    }

    #[test]
    fn the_known_revision_never_decreases() {
        let feed = ProjectFeed::new(ProjectId::generate());
        feed.begin_at(5);
        feed.begin_at(9);
        assert_eq!(feed.revision(), 5);
        feed.advance_to(7);
        feed.advance_to(6);
        assert_eq!(feed.revision(), 7);
    }
}
