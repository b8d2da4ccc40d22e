//! A client with the usual gRPC retry policy: it retries UNAVAILABLE only.

use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Watcher};

/// Maximum number of attempts before the last one.
const ATTEMPTS: u32 = 5;

/// Statistics of the calls of a client.
#[derive(Debug, Default)]
pub struct CallStats {
    pub calls: u64,
    pub retries: u64,
}

impl CallStats {
    /// Retries a call while it is UNAVAILABLE: after the delay that the server requests, or with
    /// exponential back-off.
    pub async fn call<T, F>(&mut self, mut call: impl FnMut() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.calls += 1;
        for attempt in 0..ATTEMPTS {
            match call().await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::Unavailable => {
                    self.retries += 1;
                    sleep(retry_delay(&status, attempt)).await;
                }
                Err(status) => return Err(status),
            }
        }
        call().await.map(Response::into_inner)
    }
}

fn retry_delay(status: &Status, attempt: u32) -> Duration {
    let asked = status.get_details_retry_info();
    let asked = asked.and_then(|info| info.retry_delay);
    asked.unwrap_or(Duration::from_millis(50) * 2_u32.pow(attempt))
}

/// Reads and writes one project until `stop` is cancelled.
pub async fn work(
    client: Client,
    project_id: String,
    mut pace: tokio::time::Interval,
    stop: tokio_util::sync::CancellationToken,
) -> Result<CallStats, Status> {
    let mut stats = CallStats::default();
    while !stop.is_cancelled() {
        pace.tick().await;
        stats.call(|| get(&client, &project_id)).await?;
        let name = format!("Show {}", stats.calls);
        stats.call(|| rename(&client, &project_id, &name)).await?;
    }
    Ok(stats)
}

/// GetProject.
pub fn get(
    client: &Client,
    project_id: &str,
) -> impl Future<Output = Result<Response<pb::GetProjectResponse>, Status>> + use<> {
    let mut projects = client.project.clone();
    let request = pb::GetProjectRequest {
        project_id: project_id.to_owned(),
        ..Default::default()
    };
    async move { projects.get_project(request).await }
}

/// UpdateProject with a name.
pub fn rename(
    client: &Client,
    project_id: &str,
    name: &str,
) -> impl Future<Output = Result<Response<pb::UpdateProjectResponse>, Status>> + use<> {
    let mut projects = client.project.clone();
    let request = pb::UpdateProjectRequest {
        project_id: project_id.to_owned(),
        display_name: Some(name.to_owned()),
        ..Default::default()
    };
    async move { projects.update_project(request).await }
}

/// Watches until the revision in `goal` is reached, and resumes whenever a watch ends. Returns the
/// number of resumed watches.
pub async fn watch_until(
    client: Client,
    project_id: String,
    mut goal: watch::Receiver<Option<i64>>,
) -> u64 {
    let (mut revision, mut resumed) = (1, 0);
    loop {
        let watch = Watcher::resume(&client, &project_id, revision).await;
        let ended = match watch {
            Err(status) => status,
            Ok(mut watcher) => {
                let ended = read_events(&mut watcher, &mut goal).await;
                revision = watcher.revision;
                match ended {
                    None => return resumed,
                    Some(status) => status,
                }
            }
        };
        assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
        resumed += 1;
        sleep(retry_delay(&ended, 0)).await;
    }
}

/// Reads events until the goal is reached. Returns the status if the watch ends before.
async fn read_events(
    watcher: &mut Watcher,
    goal: &mut watch::Receiver<Option<i64>>,
) -> Option<Status> {
    loop {
        let reached = goal
            .borrow_and_update()
            .is_some_and(|last| watcher.revision >= last);
        if reached {
            return None;
        }
        tokio::select! {
            change = watcher.change() => match change {
                Ok(_) => {}
                Err(status) => return Some(status),
            },
            changed = goal.changed() => changed.unwrap(),
        }
    }
}
