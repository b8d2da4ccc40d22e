use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::domain::Event;

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

/// The newest revision and events of one project, shared by its watches.
#[derive(Debug, Default)]
pub(super) struct ProjectFeed {
    head: watch::Sender<ProjectHead>,
    /// The newest events, without gaps.
    events: Mutex<VecDeque<Arc<Event>>>,
}

impl ProjectFeed {
    /// Subscribes to the state.
    pub fn head(&self) -> watch::Receiver<ProjectHead> {
        self.head.subscribe()
    }

    /// The newest known revision; 0 until one is known.
    pub fn revision(&self) -> i64 {
        self.head.borrow().revision
    }

    /// Raises the newest known revision.
    pub fn advance_to(&self, revision: i64) {
        self.head.send_if_modified(|head| {
            let is_newer = revision > head.revision;
            head.revision = head.revision.max(revision);
            is_newer
        });
    }

    /// Sets the first known revision. The feed holds events only after it.
    pub fn begin_at(&self, revision: i64) {
        self.head.send_if_modified(|head| {
            let is_first = head.revision == 0;
            if is_first {
                head.revision = revision;
            }
            is_first
        });
    }

    /// Marks the project's row as deleted.
    pub fn set_gone(&self) {
        self.head
            .send_if_modified(|head| !std::mem::replace(&mut head.gone, true));
    }

    /// Adds an event. A gap before it drops the earlier events.
    pub fn push(&self, event: Event) {
        let mut events = self.events.lock();
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
        *self.events.lock() = VecDeque::new();
    }

    /// The events after a revision; `None` if the feed does not have all of them.
    pub fn after(&self, revision: i64) -> Option<Vec<Arc<Event>>> {
        let events = self.events.lock();
        let first = events.front()?.revision;
        let last = events.back()?.revision;
        if first > revision + 1 || last <= revision {
            return None;
        }
        let unseen = events.iter().filter(|event| event.revision > revision);
        Some(unseen.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_EVENTS, ProjectFeed};
    use crate::domain::{Change, Event, now};

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
        let feed = ProjectFeed::default();
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
        let feed = ProjectFeed::default();
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
        let feed = ProjectFeed::default();
        feed.begin_at(5);
        feed.begin_at(9);
        assert_eq!(feed.revision(), 5);
        feed.advance_to(7);
        feed.advance_to(6);
        assert_eq!(feed.revision(), 7);
    }
}
