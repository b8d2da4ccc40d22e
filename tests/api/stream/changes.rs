//! Changes of a project, and the events that watchers get.

use sluice::proto::v1::{self as pb, watch_project_response::Event};

use crate::harness::{Client, Watcher};

/// UpdateProject with a new name; returns the revision.
pub async fn rename(client: &Client, project_id: &str, name: &str) -> i64 {
    let request = pb::UpdateProjectRequest {
        project_id: project_id.to_owned(),
        display_name: Some(name.to_owned()),
        ..Default::default()
    };
    let answer = client.project.clone().update_project(request).await;
    answer.unwrap().into_inner().project.unwrap().revision
}

/// CreateDestination.
pub async fn add_destination(client: &Client, project_id: &str) -> pb::Destination {
    let request = pb::CreateDestinationRequest {
        project_id: project_id.to_owned(),
        platform: pb::Platform::Youtube.into(),
        display_name: "Main channel".to_owned(),
        stream_key: "abcd-efgh-ijkl-mnop-qrst".to_owned(),
        ..Default::default()
    };
    let answer = client.project.clone().create_destination(request).await;
    answer.unwrap().into_inner().destination.unwrap()
}

/// DeleteProject, even if it is live.
pub async fn delete_project(client: &Client, project_id: &str) {
    let request = pb::DeleteProjectRequest {
        project_id: project_id.to_owned(),
        force: true,
        ..Default::default()
    };
    let answer = client.project.clone().delete_project(request).await;
    answer.unwrap();
}

/// The next event, which must be StreamChanged.
pub async fn next_stream_changed(watcher: &mut Watcher) -> pb::Stream {
    match watcher.change().await.unwrap() {
        Event::StreamChanged(stream) => stream,
        other => panic!("not of a stream: {other:?}"),
    }
}

/// The next event, which must be ProjectUpdated.
pub async fn next_project_updated(watcher: &mut Watcher) -> pb::Project {
    match watcher.change().await.unwrap() {
        Event::ProjectUpdated(project) => project,
        other => panic!("not of the project: {other:?}"),
    }
}

/// The next event, which must be DestinationChanged.
pub async fn next_destination_changed(watcher: &mut Watcher) -> pb::DestinationChanged {
    match watcher.change().await.unwrap() {
        Event::DestinationChanged(change) => change,
        other => panic!("not of a destination: {other:?}"),
    }
}
