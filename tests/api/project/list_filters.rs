//! Filters and pages of the lists of projects, destinations and platforms.

use std::slice;

use prost_types::Timestamp;
use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{create_destination, youtube_destination};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

async fn projects(user: &User, request: pb::ListProjectsRequest) -> Vec<String> {
    let answer = user.client.project.clone().list_projects(request).await;
    let projects = answer.unwrap().into_inner().projects;
    projects.into_iter().map(|project| project.id).collect()
}

async fn destinations(user: &User, request: pb::ListDestinationsRequest) -> Vec<String> {
    let answer = user.client.project.clone().list_destinations(request).await;
    let found = answer.unwrap().into_inner().destinations;
    found
        .into_iter()
        .map(|destination| destination.id)
        .collect()
}

#[rstest]
#[tokio::test]
async fn projects_are_filtered_by_creation_time_without_their_bounds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let ((first, _), (second, _), (third, _)) = (
        user.project().await,
        user.project().await,
        user.project().await,
    );
    let filter = |created_after: Option<Timestamp>, created_before: Option<Timestamp>| {
        pb::ListProjectsRequest {
            created_after,
            created_before,
            ..Default::default()
        }
    };

    let later = projects(&user, filter(first.create_time, None)).await;
    assert_eq!(later, [third.id.clone(), second.id.clone()]);
    let earlier = projects(&user, filter(None, third.create_time)).await;
    assert_eq!(earlier, [second.id.clone(), first.id]);
    let between = projects(&user, filter(first.create_time, third.create_time)).await;
    assert_eq!(between, [second.id]);
    let none = projects(&user, filter(third.create_time, first.create_time)).await;
    assert_eq!(none, [""; 0]);
}

#[rstest]
#[tokio::test]
async fn projects_and_destinations_are_filtered_by_whether_they_are_disabled(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (active, _) = user.project().await;
    let (disabled, _) = user.project().await;
    let request = pb::UpdateProjectRequest {
        project_id: disabled.id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    user.client.project.update_project(request).await.unwrap();
    let used = create_destination(&user, youtube_destination(&active)).await;
    let unused = pb::CreateDestinationRequest {
        disabled: true,
        stream_key: "another-stream-key-of-a-channel".to_owned(),
        ..youtube_destination(&active)
    };
    let unused = create_destination(&user, unused).await;

    for (wanted, project, destination) in [
        (false, &active.id, &used.id),
        (true, &disabled.id, &unused.id),
    ] {
        let request = pb::ListProjectsRequest {
            disabled: Some(wanted),
            ..Default::default()
        };
        assert_eq!(projects(&user, request).await, slice::from_ref(project));
        let request = pb::ListDestinationsRequest {
            project_id: active.id.clone(),
            disabled: Some(wanted),
            ..Default::default()
        };
        assert_eq!(
            destinations(&user, request).await,
            slice::from_ref(destination)
        );
    }
}

#[rstest]
#[tokio::test]
async fn destinations_are_filtered_by_creation_time(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let first = create_destination(&user, youtube_destination(&project)).await;
    let second = create_destination(&user, youtube_destination(&project)).await;

    let request = pb::ListDestinationsRequest {
        project_id: project.id.clone(),
        created_after: first.create_time,
        ..Default::default()
    };
    assert_eq!(
        destinations(&user, request).await,
        slice::from_ref(&second.id)
    );
    let request = pb::ListDestinationsRequest {
        project_id: project.id,
        created_before: second.create_time,
        ..Default::default()
    };
    assert_eq!(destinations(&user, request).await, [first.id]);
}

#[rstest]
#[tokio::test]
async fn a_page_token_is_refused_with_another_filter(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    user.project().await;
    let first = pb::ListProjectsRequest {
        page_size: 1,
        disabled: Some(false),
        ..Default::default()
    };
    let answer = user.client.project.list_projects(first.clone()).await;
    let page_token = answer.unwrap().into_inner().next_page_token;
    let next = pb::ListProjectsRequest {
        page_token,
        ..first
    };

    assert_eq!(projects(&user, next.clone()).await, [project.id]);
    for other in [
        pb::ListProjectsRequest {
            disabled: None,
            ..next.clone()
        },
        pb::ListProjectsRequest {
            created_after: project.create_time,
            ..next
        },
    ] {
        let refusal = refused(user.client.project.list_projects(other).await);
        assert_eq!(refusal.fields(), ["page_token"]);
    }
}

#[tokio::test]
async fn a_bound_that_is_no_time_is_an_invalid_field() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;
    let no_time = Some(Timestamp {
        seconds: 0,
        nanos: -1,
    });
    let request = pb::ListProjectsRequest {
        created_after: no_time,
        created_before: no_time,
        page_size: -1,
        ..Default::default()
    };

    let refusal = refused(user.client.project.list_projects(request).await);

    let fields = ["created_after", "created_before", "page_size"];
    assert_eq!(refusal.fields(), fields);
}

#[tokio::test]
async fn pages_of_platforms_have_all_of_them_once_in_order() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;
    let request = pb::ListPlatformsRequest::default();
    let all = user.client.project.list_platforms(request).await.unwrap();
    let all = all.into_inner();
    assert_eq!(all.next_page_token, "");

    let mut paged = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListPlatformsRequest {
            page_size: 5,
            page_token,
        };
        let page = user.client.project.list_platforms(request).await.unwrap();
        let page = page.into_inner();
        assert!((1..=5).contains(&page.platforms.len()));
        paged.extend(page.platforms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all.platforms);
}
