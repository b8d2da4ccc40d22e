use std::{collections::HashMap, time::Duration};

use sluice::proto::v1::{self as pb, watch_projects_response::Event};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

use super::{Client, Refusal, refused};

/// Timeout for the next message of a watch.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(40);

/// A client of WatchProjects. Checks that each revision of a project comes once and in order.
pub struct ProjectsWatcher {
    stream: Streaming<pb::WatchProjectsResponse>,
    /// The revision of the last message of each project.
    pub revisions: HashMap<String, i64>,
}

impl ProjectsWatcher {
    /// Starts a watch of projects, each after a revision; without projects of all.
    pub async fn start(client: &Client, projects: &[(&str, i64)]) -> Result<Self, Status> {
        Self::start_with(client, projects, false).await
    }

    /// The same, with or without statistics.
    pub async fn start_with(
        client: &Client,
        projects: &[(&str, i64)],
        with_stats: bool,
    ) -> Result<Self, Status> {
        let watched = projects.iter().map(|(id, after)| pb::WatchedProject {
            project_id: (*id).to_owned(),
            after_revision: *after,
        });
        let request = pb::WatchProjectsRequest {
            projects: watched.collect(),
            with_stats,
            ..Default::default()
        };
        let response = client.stream.clone().watch_projects(request).await?;
        let revisions = projects.iter().filter(|(_, after)| *after > 0);
        Ok(Self {
            stream: response.into_inner(),
            revisions: revisions
                .map(|(id, after)| ((*id).to_owned(), *after))
                .collect(),
        })
    }

    /// Starts a watch, and reads until all projects are synced; returns the snapshots too.
    pub async fn start_synced(
        client: &Client,
        projects: &[(&str, i64)],
    ) -> (Vec<pb::ProjectSnapshot>, Self) {
        let mut watcher = Self::start(client, projects).await.unwrap();
        let begun = watcher.read_until_synced().await;
        let snapshots = begun.into_iter().filter_map(|message| match message.event {
            Some(Event::Snapshot(snapshot)) => Some(snapshot),
            _ => None,
        });
        (snapshots.collect(), watcher)
    }

    /// The messages until all projects of the start are synced.
    pub async fn read_until_synced(&mut self) -> Vec<pb::WatchProjectsResponse> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().await;
            if message.project_id.is_empty() {
                assert_eq!(message.event, Some(Event::Synced(pb::WatchSynced {})));
                return messages;
            }
            messages.push(message);
        }
    }

    /// The next message, or the status that ended the watch.
    pub async fn message(&mut self) -> Result<pb::WatchProjectsResponse, Status> {
        let message = timeout(MESSAGE_TIMEOUT, self.stream.message()).await;
        let message = message.expect("a message arrives")?;
        let message = message.expect("a watch ends with an error");
        self.check(&message);
        Ok(message)
    }

    /// The next message that is not a heartbeat.
    pub async fn next(&mut self) -> pb::WatchProjectsResponse {
        loop {
            let message = self.message().await.unwrap();
            if !matches!(message.event, Some(Event::Heartbeat(_))) {
                return message;
            }
        }
    }

    /// The next message of a project that matches.
    pub async fn find<T>(
        &mut self,
        project_id: &str,
        find: impl Fn(&pb::WatchProjectsResponse) -> Option<T>,
    ) -> T {
        let found = async {
            loop {
                let message = self.next().await;
                if message.project_id == project_id
                    && let Some(found) = find(&message)
                {
                    return found;
                }
            }
        };
        let found = timeout(MESSAGE_TIMEOUT, found).await;
        found.expect("such a message arrives")
    }

    /// Reads until a project is at a revision.
    pub async fn read_until(&mut self, project_id: &str, revision: i64) {
        while self.revisions.get(project_id) < Some(&revision) {
            self.next().await;
        }
        assert_eq!(self.revisions[project_id], revision);
    }

    /// Reads until the watch ends; returns the error.
    pub async fn wait_for_end(&mut self) -> Refusal {
        let end = async {
            loop {
                if let Err(status) = self.message().await {
                    return status;
                }
            }
        };
        let status = timeout(MESSAGE_TIMEOUT, end).await.expect("the watch ends");
        refused(Err::<Response<()>, _>(status))
    }

    /// Checks the revision of a message, and whether it has a time.
    fn check(&mut self, message: &pb::WatchProjectsResponse) {
        let (id, revision) = (&message.project_id, message.revision);
        let known = self.revisions.get(id).copied();
        match message.event.as_ref().unwrap() {
            Event::Heartbeat(_) => assert_eq!((&**id, revision), ("", 0)),
            Event::Synced(_) if id.is_empty() => assert_eq!(revision, 0),
            Event::Snapshot(snapshot) => {
                let project = snapshot.project.as_ref().unwrap();
                assert_eq!((&project.id, project.revision), (id, revision));
                assert_eq!(message.create_time, None);
                self.revisions.insert(id.clone(), revision);
            }
            Event::Synced(_)
            | Event::Resync(_)
            | Event::IssuesChanged(_)
            | Event::Stats(_)
            | Event::PublisherRefused(_) => assert_eq!(known, Some(revision), "{message:?}"),
            Event::ProjectDeleted(_) if message.create_time.is_none() => {
                assert_eq!(known, Some(revision), "{message:?}");
            }
            Event::ProjectUpdated(_)
            | Event::DestinationChanged(_)
            | Event::StreamChanged(_)
            | Event::RelayChanged(_)
            | Event::ProjectDeleted(_) => {
                assert_eq!(known, Some(revision - 1), "{message:?}");
                assert!(message.create_time.is_some());
                self.revisions.insert(id.clone(), revision);
            }
        }
    }
}
