use std::time::Duration;

use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

use super::{Client, Refusal, refused};

/// What does not come in this time never does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who watches a project.
pub struct Watcher {
    answer: Streaming<pb::WatchProjectResponse>,
    /// The revision that came last.
    pub revision: i64,
}

impl Watcher {
    /// Watches from a snapshot.
    pub async fn of(client: &Client, project_id: &str) -> Self {
        Self::after(client, project_id, 0).await.unwrap()
    }

    /// Watches what comes after a revision.
    pub async fn after(client: &Client, project_id: &str, revision: i64) -> Result<Self, Status> {
        let request = pb::WatchProjectRequest {
            project_id: project_id.to_owned(),
            after_revision: revision,
        };
        let answer = client.stream.clone().watch_project(request).await?;
        Ok(Self {
            answer: answer.into_inner(),
            revision,
        })
    }

    /// Watches from a snapshot; gives it, with all that was to be caught up with read.
    pub async fn synced(client: &Client, project_id: &str) -> (pb::ProjectSnapshot, Self) {
        let mut watcher = Self::of(client, project_id).await;
        let Event::Snapshot(snapshot) = watcher.event().await else {
            panic!("the first answer is a snapshot")
        };
        assert_eq!(watcher.event().await, Event::Synced(pb::WatchSynced {}));
        (snapshot, watcher)
    }

    /// The next message, or how the watch ended.
    pub async fn message(&mut self) -> Result<pb::WatchProjectResponse, Status> {
        let message = timeout(PATIENCE, self.answer.message()).await;
        let message = message.expect("something comes")?;
        let message = message.expect("a watch ends with an error");
        self.revision = message.revision;
        Ok(message)
    }

    /// The next message.
    pub async fn next(&mut self) -> pb::WatchProjectResponse {
        self.message().await.unwrap()
    }

    /// The next message that is no heartbeat: what it says.
    pub async fn event(&mut self) -> Event {
        loop {
            match self.next().await.event.unwrap() {
                Event::Heartbeat(_) => {}
                event => return event,
            }
        }
    }

    /// The next event, or how the watch ended; it is the one after the last.
    pub async fn change(&mut self) -> Result<Event, Status> {
        let change = timeout(PATIENCE, self.next_change()).await;
        change.expect("something changes")
    }

    async fn next_change(&mut self) -> Result<Event, Status> {
        loop {
            let before = self.revision;
            let message = self.message().await?;
            match message.event.unwrap() {
                Event::Heartbeat(_) | Event::Synced(_) => assert_eq!(message.revision, before),
                Event::Snapshot(_) => panic!("a snapshot comes first or never"),
                event => {
                    assert_eq!(message.revision, before + 1);
                    assert!(message.create_time.is_some());
                    return Ok(event);
                }
            }
        }
    }

    /// Reads until a revision, each exactly once and in order.
    pub async fn read_until(&mut self, revision: i64) {
        while self.revision < revision {
            self.change().await.unwrap();
        }
        assert_eq!(self.revision, revision);
    }

    /// How the watch ends, whatever comes before; with the revision it says was sent last.
    pub async fn ended(&mut self) -> (Refusal, i64) {
        let end = async {
            loop {
                if let Err(status) = self.message().await {
                    return status;
                }
            }
        };
        let status = timeout(PATIENCE, end).await.expect("the watch ends");
        let refusal = refused(Err::<Response<()>, _>(status));
        let info = refusal.details.error_info().unwrap();
        let last = info.metadata["last_revision"].parse().unwrap();
        (refusal, last)
    }
}
