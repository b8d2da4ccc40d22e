use std::time::Duration;

use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

use super::{Client, Refusal, refused};

/// Timeout for the next message of a watch.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// A client of WatchProject.
pub struct Watcher {
    stream: Streaming<pb::WatchProjectResponse>,
    /// The revision of the last message.
    pub revision: i64,
}

impl Watcher {
    /// Starts a watch with a snapshot.
    pub async fn start(client: &Client, project_id: &str) -> Self {
        Self::resume(client, project_id, 0).await.unwrap()
    }

    /// Resumes a watch after a revision.
    pub async fn resume(client: &Client, project_id: &str, revision: i64) -> Result<Self, Status> {
        let request = pb::WatchProjectRequest {
            project_id: project_id.to_owned(),
            after_revision: revision,
        };
        let response = client.stream.clone().watch_project(request).await?;
        Ok(Self {
            stream: response.into_inner(),
            revision,
        })
    }

    /// Starts a watch and reads until WatchSynced; returns the snapshot.
    pub async fn start_synced(client: &Client, project_id: &str) -> (pb::ProjectSnapshot, Self) {
        let mut watcher = Self::start(client, project_id).await;
        let Event::Snapshot(snapshot) = watcher.event().await else {
            panic!("the first message is a snapshot")
        };
        assert_eq!(watcher.event().await, Event::Synced(pb::WatchSynced {}));
        (snapshot, watcher)
    }

    /// The next message, or the status that ended the watch.
    pub async fn message(&mut self) -> Result<pb::WatchProjectResponse, Status> {
        let message = timeout(MESSAGE_TIMEOUT, self.stream.message()).await;
        let message = message.expect("a message arrives")?;
        let message = message.expect("a watch ends with an error");
        self.revision = message.revision;
        Ok(message)
    }

    /// The next message.
    pub async fn next(&mut self) -> pb::WatchProjectResponse {
        self.message().await.unwrap()
    }

    /// The event of the next message that is not a heartbeat.
    pub async fn event(&mut self) -> Event {
        loop {
            match self.next().await.event.unwrap() {
                Event::Heartbeat(_) => {}
                event => return event,
            }
        }
    }

    /// The next change, or the status that ended the watch. Checks that no revision is missing.
    pub async fn change(&mut self) -> Result<Event, Status> {
        let change = timeout(MESSAGE_TIMEOUT, self.next_change()).await;
        change.expect("a change arrives")
    }

    async fn next_change(&mut self) -> Result<Event, Status> {
        loop {
            let before = self.revision;
            let message = self.message().await?;
            match message.event.unwrap() {
                Event::Heartbeat(_) | Event::Synced(_) => assert_eq!(message.revision, before),
                Event::Snapshot(_) => panic!("only the first message is a snapshot"),
                event => {
                    assert_eq!(message.revision, before + 1);
                    assert!(message.create_time.is_some());
                    return Ok(event);
                }
            }
        }
    }

    /// Reads until a revision. Checks that each revision comes once and in order.
    pub async fn read_until(&mut self, revision: i64) {
        while self.revision < revision {
            self.change().await.unwrap();
        }
        assert_eq!(self.revision, revision);
    }

    /// Reads until the watch ends; returns the error and its `last_revision`.
    pub async fn wait_for_end(&mut self) -> (Refusal, i64) {
        let end = async {
            loop {
                if let Err(status) = self.message().await {
                    return status;
                }
            }
        };
        let status = timeout(MESSAGE_TIMEOUT, end).await.expect("the watch ends");
        let refusal = refused(Err::<Response<()>, _>(status));
        let info = refusal.details.error_info().unwrap();
        let last = info.metadata["last_revision"].parse().unwrap();
        (refusal, last)
    }
}
