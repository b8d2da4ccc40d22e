use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{get_project, reveal_stream_key};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer};

#[rstest]
#[tokio::test]
async fn a_stream_key_is_sk_and_forty_hexadecimal_digits(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    let (project, stream_key) = user.project().await;

    let digits = stream_key.strip_prefix("sk_").unwrap();
    assert_eq!(digits.len(), 40);
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(digits.chars().all(is_digit), "{stream_key}");
    assert!(stream_key.ends_with(&project.stream_key_hint));
    assert_eq!(project.stream_key_hint.len(), 4);
}

#[rstest]
#[tokio::test]
async fn the_revealed_stream_key_is_the_one_given_at_creation(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, stream_key) = user.project().await;

    let revealed = reveal_stream_key(&user, &project).await;

    assert_eq!(revealed, stream_key);
    assert_eq!(get_project(&user, &project).await, project);
    let media = server.media_server().await;
    let stream = media.live(&revealed, "c1").await;
    assert_eq!(stream.project_id, project.id);
}

/// Predecessor's defect G16: every read of a project showed its keys.
#[rstest]
#[tokio::test]
async fn reads_and_updates_of_a_project_never_show_its_stream_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, stream_key) = user.project().await;
    let projects = &mut user.client.project;

    let get = pb::GetProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let update = pb::UpdateProjectRequest {
        project_id: project.id.clone(),
        display_name: Some("Renamed".to_owned()),
        ..Default::default()
    };
    let answers = [
        format!("{:?}", projects.get_project(get).await.unwrap()),
        format!(
            "{:?}",
            projects
                .list_projects(pb::ListProjectsRequest::default())
                .await
                .unwrap()
        ),
        format!("{:?}", projects.update_project(update).await.unwrap()),
    ];

    let secret = &stream_key[3..39];
    for answer in answers {
        assert!(answer.contains(&project.id), "{answer}");
        assert!(!answer.contains(secret), "{answer}");
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_key_can_be_revealed_after_a_restart(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, stream_key) = user.project().await;

    let server = server.restart().await;

    let client = Client::with_token(&server.channel, &user.tokens.access_token);
    let request = pb::RevealStreamKeyRequest {
        project_id: project.id,
    };
    let answer = client.project.clone().reveal_stream_key(request).await;
    assert_eq!(answer.unwrap().into_inner().stream_key, stream_key);
}
