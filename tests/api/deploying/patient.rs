//! A client as gRPC has them: it repeats what was UNAVAILABLE, and nothing else.

use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Watcher};

/// How often a call is made at most.
const ATTEMPTS: u32 = 5;

/// What a client has gone through.
#[derive(Debug, Default)]
pub struct Lived {
    pub calls: u64,
    pub repetitions: u64,
}

impl Lived {
    /// A call that is repeated while the answer is UNAVAILABLE: after the time that the
    /// server asks for, else after a short one that doubles.
    pub async fn call<T, F>(&mut self, mut call: impl FnMut() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.calls += 1;
        for attempt in 0..ATTEMPTS {
            match call().await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::Unavailable => {
                    self.repetitions += 1;
                    sleep(pause(&status, attempt)).await;
                }
                Err(status) => return Err(status),
            }
        }
        call().await.map(Response::into_inner)
    }
}

fn pause(status: &Status, attempt: u32) -> Duration {
    let asked = status.get_details_retry_info();
    let asked = asked.and_then(|info| info.retry_delay);
    asked.unwrap_or(Duration::from_millis(50) * 2_u32.pow(attempt))
}

/// Calls until it is told to stop: reads and writes of one project.
pub async fn work(
    client: Client,
    project_id: String,
    mut pace: tokio::time::Interval,
    stop: tokio_util::sync::CancellationToken,
) -> Result<Lived, Status> {
    let mut lived = Lived::default();
    while !stop.is_cancelled() {
        pace.tick().await;
        lived.call(|| get(&client, &project_id)).await?;
        let name = format!("Show {}", lived.calls);
        lived.call(|| rename(&client, &project_id, &name)).await?;
    }
    Ok(lived)
}

/// GetProject.
pub fn get(
    client: &Client,
    project_id: &str,
) -> impl Future<Output = Result<Response<pb::GetProjectResponse>, Status>> + use<> {
    let mut projects = client.project.clone();
    let request = pb::GetProjectRequest {
        project_id: project_id.to_owned(),
    };
    async move { projects.get_project(request).await }
}

/// UpdateProject of the name.
pub fn rename(
    client: &Client,
    project_id: &str,
    name: &str,
) -> impl Future<Output = Result<Response<pb::UpdateProjectResponse>, Status>> + use<> {
    let mut projects = client.project.clone();
    let request = pb::UpdateProjectRequest {
        project_id: project_id.to_owned(),
        name: Some(name.to_owned()),
        ..Default::default()
    };
    async move { projects.update_project(request).await }
}

/// Watches until a revision that is known only at the end, and goes on after the last
/// event whenever a watch ends; gives how often it did.
pub async fn follow(
    client: Client,
    project_id: String,
    mut goal: watch::Receiver<Option<i64>>,
) -> u64 {
    let (mut revision, mut resumed) = (1, 0);
    loop {
        let watch = Watcher::after(&client, &project_id, revision).await;
        let ended = match watch {
            Err(status) => status,
            Ok(mut watcher) => {
                let ended = read(&mut watcher, &mut goal).await;
                revision = watcher.revision;
                match ended {
                    None => return resumed,
                    Some(status) => status,
                }
            }
        };
        assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
        resumed += 1;
        sleep(pause(&ended, 0)).await;
    }
}

/// Reads events, each once and in order, to the goal; gives how the watch ended before.
async fn read(watcher: &mut Watcher, goal: &mut watch::Receiver<Option<i64>>) -> Option<Status> {
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
