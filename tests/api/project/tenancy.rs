use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use super::{
    calls,
    given::{destination, destination_now, project_now, restricted, stream_key_now, youtube},
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User, refused};

/// What a caller may not touch answers like what does not exist, and stays as it is.
async fn assert_hidden(
    owner: &User,
    caller: &Client,
    project: &pb::Project,
    destination: &pb::Destination,
) {
    let stream_key = stream_key_now(owner, project).await;
    let project = project_now(owner, project).await;
    let (unknown, other_unknown) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());

    let of_others = calls::with_ids(caller, &project.id, &destination.id).await;
    let of_unknown = calls::with_ids(caller, &unknown, &other_unknown).await;

    for ((rpc, theirs), (_, nobodys)) in of_others.iter().zip(&of_unknown) {
        assert_eq!(
            theirs.class(),
            (Code::NotFound, "RESOURCE_NOT_FOUND"),
            "{rpc}"
        );
        let theirs = format!("{theirs:?}")
            .replace(&project.id, &unknown)
            .replace(&destination.id, &other_unknown);
        assert_eq!(theirs, format!("{nobodys:?}"), "{rpc}");
    }
    assert_eq!(project_now(owner, &project).await, project);
    assert_eq!(&destination_now(owner, destination).await, destination);
    assert_eq!(stream_key_now(owner, &project).await, stream_key);
}

/// Predecessor's defect G15: what belonged to another user answered otherwise than what did
/// not exist.
#[rstest]
#[tokio::test]
async fn what_belongs_to_another_user_is_like_what_does_not_exist(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (owner, stranger) = (server.user().await, server.user().await);
    let (project, stream_key) = owner.project().await;
    let target = destination(&owner, youtube(&project)).await;
    let media = server.media_server().await;
    let live = media.live(&stream_key, "c1").await;

    assert_hidden(&owner, &stranger.client, &project, &target).await;

    assert_eq!(owner.stream(&live.id).await, live);
}

#[rstest]
#[tokio::test]
async fn a_list_shows_only_what_is_the_callers_own(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (owner, mut stranger) = (server.user().await, server.user().await);
    owner.project().await;
    let (own, _) = stranger.project().await;

    let request = pb::ListProjectsRequest::default();
    let listed = stranger.client.project.list_projects(request).await;

    assert_eq!(listed.unwrap().into_inner().projects, [own]);
}

#[rstest]
#[tokio::test]
async fn a_restricted_api_key_sees_only_its_projects(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owner = server.user().await;
    let (hidden, _) = owner.project().await;
    let (shown, _) = owner.project().await;
    let hidden_target = destination(&owner, youtube(&hidden)).await;
    destination(&owner, youtube(&shown)).await;
    let mut program = restricted(&server, &owner, &shown).await;

    assert_hidden(&owner, &program, &hidden, &hidden_target).await;

    let request = pb::ListProjectsRequest::default();
    let listed = program.project.list_projects(request).await;
    let listed = listed.unwrap().into_inner().projects;
    assert_eq!(listed, [project_now(&owner, &shown).await]);
    let request = pb::DeleteProjectRequest {
        project_id: shown.id,
        force: false,
    };
    program.project.delete_project(request).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_restricted_api_key_makes_no_projects(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owner = server.user().await;
    let (project, _) = owner.project().await;
    let mut program = restricted(&server, &owner, &project).await;

    let request = pb::CreateProjectRequest {
        name: "New".to_owned(),
        ..Default::default()
    };
    let refusal = refused(program.project.create_project(request).await);

    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "API_KEY_RESTRICTED")
    );
    let query = "select count(*) from projects";
    assert_eq!(server.database.number(query).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_page_token_serves_only_for_the_key_it_was_given_to(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut owner = server.user().await;
    owner.project().await;
    let (project, _) = owner.project().await;
    let mut program = restricted(&server, &owner, &project).await;
    let first_page = pb::ListProjectsRequest {
        page_size: 1,
        ..Default::default()
    };
    let answer = owner.client.project.list_projects(first_page.clone()).await;

    let second_page = pb::ListProjectsRequest {
        page_token: answer.unwrap().into_inner().next_page_token,
        ..first_page
    };
    let refusal = refused(program.project.list_projects(second_page).await);

    assert_eq!(refusal.fields(), ["page_token"]);
}

#[rstest]
#[tokio::test]
async fn of_many_who_read_at_once_each_gets_only_what_is_theirs(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--db-acquire-timeout=30s"]).await;
    let (one, other) = (server.user().await, server.user().await);
    let (first, _) = one.project().await;
    let (second, _) = one.project().await;
    let (third, _) = other.project().await;
    let of_first = restricted(&server, &one, &first).await;
    let unknown = Uuid::now_v7().to_string();
    let callers = [
        (&one.client, vec![&first.id, &second.id]),
        (&other.client, vec![&third.id]),
        (&of_first, vec![&first.id]),
    ];

    let (mut reads, mut lists) = (JoinSet::new(), JoinSet::new());
    for _ in 0..30 {
        for (client, theirs) in &callers {
            for id in [&first.id, &second.id, &third.id, &unknown] {
                let (mut projects, is_theirs) = (client.project.clone(), theirs.contains(&id));
                let request = pb::GetProjectRequest {
                    project_id: id.clone(),
                };
                reads.spawn(async move {
                    let id = request.project_id.clone();
                    (id, is_theirs, projects.get_project(request).await)
                });
            }
            let (mut projects, theirs) = (client.project.clone(), theirs.clone());
            let mut theirs: Vec<_> = theirs.into_iter().cloned().collect();
            theirs.reverse();
            lists.spawn(async move {
                let request = pb::ListProjectsRequest::default();
                let listed = projects.list_projects(request).await.unwrap().into_inner();
                let listed: Vec<_> = listed.projects.into_iter().map(|it| it.id).collect();
                assert_eq!(listed, theirs);
            });
        }
    }
    for (id, is_theirs, answer) in reads.join_all().await {
        match is_theirs {
            true => assert_eq!(answer.unwrap().into_inner().project.unwrap().id, id),
            false => assert_eq!(
                refused(answer).class(),
                (Code::NotFound, "RESOURCE_NOT_FOUND")
            ),
        }
    }
    lists.join_all().await;
}
