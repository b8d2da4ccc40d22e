use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{create_destination, custom_destination, youtube_destination};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

fn listing(project: &pb::Project, size: i32, token: &str) -> pb::ListDestinationsRequest {
    pb::ListDestinationsRequest {
        project_id: project.id.clone(),
        page_size: size,
        page_token: token.to_owned(),
        ..Default::default()
    }
}

async fn page(
    user: &User,
    project: &pb::Project,
    size: i32,
    token: &str,
) -> (Vec<pb::Destination>, String) {
    let request = listing(project, size, token);
    let answer = user.client.project.clone().list_destinations(request).await;
    let answer = answer.unwrap().into_inner();
    (answer.destinations, answer.next_page_token)
}

#[rstest]
#[tokio::test]
async fn a_projects_destinations_are_listed_newest_first(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let (other, _) = user.project().await;
    let nothing = (vec![], String::new());
    assert_eq!(page(&user, &project, 0, "").await, nothing);
    let first = create_destination(&user, youtube_destination(&project)).await;
    create_destination(&user, youtube_destination(&other)).await;
    let second = create_destination(
        &user,
        custom_destination(&project, "rtmp://example.com/app"),
    )
    .await;

    let listed = page(&user, &project, 0, "").await;

    assert_eq!(listed, (vec![second, first], String::new()));
}

#[rstest]
#[tokio::test]
async fn paging_shows_each_destination_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let mut wanted = Vec::new();
    for _ in 0..4 {
        wanted.insert(
            0,
            create_destination(&user, youtube_destination(&project)).await,
        );
    }

    for size in [1, 2, 3] {
        let mut paged = Vec::new();
        let mut token = String::new();
        loop {
            let (some, next) = page(&user, &project, size, &token).await;
            assert!(!some.is_empty() && some.len() <= usize::try_from(size).unwrap());
            paged.extend(some);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(paged, wanted, "page_size {size}");
    }
    for size in [0, 4, 201, i32::MAX] {
        let all = (wanted.clone(), String::new());
        assert_eq!(page(&user, &project, size, "").await, all);
    }
}

#[rstest]
#[tokio::test]
async fn a_page_token_is_valid_only_for_its_project(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let (other, _) = user.project().await;
    for project in [&project, &project, &other, &other] {
        create_destination(&user, youtube_destination(project)).await;
    }
    let (_, of_other) = page(&user, &other, 1, "").await;
    let projects = pb::ListProjectsRequest {
        page_size: 1,
        ..Default::default()
    };
    let of_projects = user.client.project.list_projects(projects).await;
    let of_projects = of_projects.unwrap().into_inner().next_page_token;

    for token in [&of_other, &of_projects, "x", &of_other.to_lowercase()] {
        let request = listing(&project, 1, token);
        let refusal = refused(user.client.project.list_destinations(request).await);
        assert_eq!(refusal.fields(), ["page_token"], "{token}");
    }
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;

    let wrong = pb::ListDestinationsRequest {
        project_id: "1".to_owned(),
        page_size: -1,
        page_token: "x".to_owned(),
        ..Default::default()
    };
    for (request, fields) in [
        (wrong, &["page_size", "page_token", "project_id"][..]),
        (listing(&project, -1, ""), &["page_size"]),
        (listing(&project, 1, "x"), &["page_token"]),
    ] {
        let refusal = refused(user.client.project.list_destinations(request).await);
        assert_eq!(refusal.fields(), fields);
    }
}
