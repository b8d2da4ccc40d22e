use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::domain::Event;

/// How many events a feed keeps: who is further behind reads them from the database.
pub(super) const KEPT: i64 = 64;

/// What is known of a project that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Its newest known revision; 0 until one is known.
    pub revision: i64,
    /// Whether its row is gone.
    pub gone: bool,
}

/// What the watchers of one project share.
#[derive(Debug, Default)]
pub(super) struct Feed {
    head: watch::Sender<Head>,
    /// The newest events, without a gap.
    newest: Mutex<VecDeque<Arc<Event>>>,
}

impl Feed {
    /// What is known, now and from now on.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// The newest known revision; 0 if none is known.
    pub fn revision(&self) -> i64 {
        self.head.borrow().revision
    }

    /// Learns that a revision exists.
    pub fn reach(&self, revision: i64) {
        self.head.send_if_modified(|head| {
            let is_news = revision > head.revision;
            head.revision = head.revision.max(revision);
            is_news
        });
    }

    /// Learns the first revision; only from then on events are kept.
    pub fn begin_at(&self, revision: i64) {
        self.head.send_if_modified(|head| {
            let is_first = head.revision == 0;
            if is_first {
                head.revision = revision;
            }
            is_first
        });
    }

    /// Learns that the project's row is gone.
    pub fn gone(&self) {
        self.head
            .send_if_modified(|head| !std::mem::replace(&mut head.gone, true));
    }

    /// Keeps an event, which follows the newest one or begins anew.
    pub fn push(&self, event: Event) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.back() {
            Some(last) if event.revision <= last.revision => return,
            Some(last) if event.revision > last.revision + 1 => newest.clear(),
            _ => {}
        }
        newest.push_back(Arc::new(event));
        if newest.len() > KEPT as usize {
            newest.pop_front();
        }
    }

    /// Drops the events: who has not taken them reads them from the database.
    pub fn forget(&self) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = VecDeque::new();
    }

    /// The events after a revision; `None` if they are not all kept.
    pub fn after(&self, revision: i64) -> Option<Vec<Arc<Event>>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let first = newest.front()?.revision;
        let last = newest.back()?.revision;
        if first > revision + 1 || last <= revision {
            return None;
        }
        let unseen = newest.iter().filter(|event| event.revision > revision);
        Some(unseen.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Feed, KEPT};
    use crate::domain::{Change, Event, now};

    fn event(revision: i64) -> Event {
        Event {
            revision,
            create_time: now(),
            change: Change::ProjectDeleted,
        }
    }

    fn revisions(feed: &Feed, after: i64) -> Option<Vec<i64>> {
        let events = feed.after(after)?;
        Some(events.iter().map(|event| event.revision).collect())
    }

    #[test]
    fn a_watcher_that_is_further_behind_than_what_is_kept_gets_nothing() {
        let feed = Feed::default();
        for revision in 3..KEPT + 10 {
            feed.push(event(revision));
        }
        let (last, first) = (KEPT + 9, 10);

        assert_eq!(revisions(&feed, first - 2), None);
        let all: Vec<_> = (first..=last).collect();
        assert_eq!(revisions(&feed, first - 1), Some(all));
        assert_eq!(revisions(&feed, last - 1), Some(vec![last]));
        assert_eq!(revisions(&feed, last), None);
    }

    #[test]
    fn what_is_kept_has_no_gap_and_nothing_twice() {
        let feed = Feed::default();
        for revision in [5, 6, 6, 5, 7] {
            feed.push(event(revision));
        }
        assert_eq!(revisions(&feed, 4), Some(vec![5, 6, 7]));

        feed.push(event(9));
        assert_eq!(revisions(&feed, 7), None);
        assert_eq!(revisions(&feed, 8), Some(vec![9]));

        feed.forget();
        assert_eq!(revisions(&feed, 8), None);
    }

    #[test]
    fn a_revision_that_is_known_is_never_taken_back() {
        let feed = Feed::default();
        feed.begin_at(5);
        feed.begin_at(9);
        assert_eq!(feed.revision(), 5);
        feed.reach(7);
        feed.reach(6);
        assert_eq!(feed.revision(), 7);
    }
}
