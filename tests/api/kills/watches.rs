use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::{task::JoinSet, time::timeout};
use tonic::Response;

use super::caller::Caller;
use crate::harness::Watcher;

/// A project whose changes are watched.
#[derive(Clone)]
pub struct WatchedProject {
    pub owner: Caller,
    pub id: String,
    /// The revision after which the watches begin.
    first: i64,
}

/// Watches of a project that last until the end of all writes.
pub struct Watches {
    project: WatchedProject,
    /// The revision at which they end.
    until: Arc<AtomicI64>,
    watchers: JoinSet<Watched>,
}

/// What a watch has received.
struct Watched {
    /// Events by revision.
    events: BTreeMap<i64, Event>,
    /// The number of WatchProject calls.
    calls: usize,
}

impl Watches {
    pub fn start(project: WatchedProject, count: usize) -> Self {
        let until = Arc::new(AtomicI64::new(i64::MAX));
        let mut watchers = JoinSet::new();
        for _ in 0..count {
            watchers.spawn_local(project.clone().watch(until.clone()));
        }
        Self {
            project,
            until,
            watchers,
        }
    }

    /// Fails as soon as a watcher has failed.
    pub fn assert_running(&mut self) {
        if let Some(ended) = self.watchers.try_join_next() {
            ended.map(drop).expect("no watcher fails");
            panic!("a watcher has ended");
        }
    }

    /// Checks that every watcher has received every change.
    pub async fn check(self, kills: usize) {
        let last = self.project.revision().await;
        self.until.store(last, Relaxed);
        let history = self.project.history().await;
        let revisions: Vec<_> = history.keys().copied().collect();
        let all: Vec<_> = (self.project.first + 1..=last).collect();
        assert_eq!(revisions, all);
        for Watched { events, calls } in self.watchers.join_all().await {
            assert!(events == history, "a watcher received other changes");
            assert!(calls > kills / 4, "it went on {calls} times");
        }
    }
}

impl WatchedProject {
    pub fn new(owner: &Caller, project: &pb::Project) -> Self {
        Self {
            owner: owner.clone(),
            id: project.id.clone(),
            first: project.revision,
        }
    }

    /// The current revision.
    async fn revision(&self) -> i64 {
        let request = pb::GetProjectRequest {
            project_id: self.id.clone(),
            ..Default::default()
        };
        let answer = self
            .owner
            .read("GetProject", async |mut client| {
                client.project.get_project(request.clone()).await
            })
            .await;
        answer.project.unwrap().revision
    }

    /// All events up to the current revision.
    pub async fn history(&self) -> BTreeMap<i64, Event> {
        let until = Arc::new(AtomicI64::new(self.revision().await));
        self.clone().watch(until).await.events
    }

    /// Watches on any available program until a revision, which may be lowered meanwhile. Checks
    /// that no revision is missed.
    async fn watch(self, until: Arc<AtomicI64>) -> Watched {
        let (mut events, mut calls, mut revision) = (BTreeMap::new(), 0, self.first);
        while revision < until.load(Relaxed) {
            let mut watcher = self
                .owner
                .read("WatchProject", async |client| {
                    let watcher = Watcher::resume(&client, &self.id, revision).await;
                    watcher.map(Response::new)
                })
                .await;
            calls += 1;
            while revision < until.load(Relaxed) {
                let Ok(change) = timeout(Duration::from_secs(1), watcher.change()).await else {
                    // The connection was killed between two messages, or the watch has ended.
                    continue;
                };
                match change {
                    Ok(event) => {
                        revision += 1;
                        assert_eq!(watcher.revision, revision, "nothing is missed");
                        assert!(events.insert(revision, event).is_none());
                    }
                    Err(status) if self.owner.is_interrupted_by(&status) => break,
                    Err(status) => panic!("{status:?}"),
                }
            }
        }
        Watched { events, calls }
    }
}
