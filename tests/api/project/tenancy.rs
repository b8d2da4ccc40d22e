use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use super::{
    fixtures::{
        create_destination, get_destination, get_project, restricted_client, reveal_stream_key,
        youtube_destination,
    },
    rpc_refusals,
};
use crate::harness::{
    Client, Engine, Postgres, Sqlite, TestServer, User, refused, until_available,
};

/// Checks that resources look unknown to a caller, who cannot change them.
async fn assert_hidden(
    owner: &User,
    caller: &Client,
    project: &pb::Project,
    destination: &pb::Destination,
) {
    let stream_key = reveal_stream_key(owner, project).await;
    let project = get_project(owner, project).await;
    let (unknown, other_unknown) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());

    let of_others = rpc_refusals::with_ids(caller, &project.id, &destination.id).await;
    let of_unknown = rpc_refusals::with_ids(caller, &unknown, &other_unknown).await;

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
    assert_eq!(get_project(owner, &project).await, project);
    assert_eq!(&get_destination(owner, destination).await, destination);
    assert_eq!(reveal_stream_key(owner, &project).await, stream_key);
}

/// Predecessor's defect G15: resources of another user and unknown resources got different
/// responses.
#[rstest]
#[tokio::test]
async fn resources_of_another_user_look_unknown(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (owner, stranger) = (server.user().await, server.user().await);
    let (project, stream_key) = owner.project().await;
    let target = create_destination(&owner, youtube_destination(&project)).await;
    let media = server.media_server().await;
    let live = media.live(&stream_key, "c1").await;

    assert_hidden(&owner, &stranger.client, &project, &target).await;

    assert_eq!(owner.stream(&live.id).await, live);
}

#[rstest]
#[tokio::test]
async fn a_list_shows_only_the_callers_projects(#[values(Sqlite, Postgres)] engine: Engine) {
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
    let hidden_target = create_destination(&owner, youtube_destination(&hidden)).await;
    create_destination(&owner, youtube_destination(&shown)).await;
    let mut api_key_client = restricted_client(&server, &owner, &shown).await;

    assert_hidden(&owner, &api_key_client, &hidden, &hidden_target).await;

    let request = pb::ListProjectsRequest::default();
    let listed = api_key_client.project.list_projects(request).await;
    let listed = listed.unwrap().into_inner().projects;
    assert_eq!(listed, [get_project(&owner, &shown).await]);
    let request = pb::DeleteProjectRequest {
        project_id: shown.id,
        force: false,
        ..Default::default()
    };
    api_key_client
        .project
        .delete_project(request)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn a_restricted_api_key_cannot_create_projects(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owner = server.user().await;
    let (project, _) = owner.project().await;
    let mut api_key_client = restricted_client(&server, &owner, &project).await;

    let request = pb::CreateProjectRequest {
        display_name: "New".to_owned(),
        ..Default::default()
    };
    let refusal = refused(api_key_client.project.create_project(request).await);

    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "API_KEY_RESTRICTED")
    );
    let query = "select count(*) from projects";
    assert_eq!(server.database.number(query).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_page_token_is_valid_only_for_the_credential_it_was_issued_to(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut owner = server.user().await;
    owner.project().await;
    let (project, _) = owner.project().await;
    let mut api_key_client = restricted_client(&server, &owner, &project).await;
    let first_page = pb::ListProjectsRequest {
        page_size: 1,
        ..Default::default()
    };
    let answer = owner.client.project.list_projects(first_page.clone()).await;

    let second_page = pb::ListProjectsRequest {
        page_token: answer.unwrap().into_inner().next_page_token,
        ..first_page
    };
    let refusal = refused(api_key_client.project.list_projects(second_page).await);

    assert_eq!(refusal.fields(), ["page_token"]);
}

#[rstest]
#[tokio::test]
async fn concurrent_reads_return_only_projects_of_their_caller(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--db-acquire-timeout=30s", "--max-connection-calls=1000"];
    let server = TestServer::start_with(engine, &flags).await;
    let (one, other) = (server.user().await, server.user().await);
    let (first, _) = one.project().await;
    let (second, _) = one.project().await;
    let (third, _) = other.project().await;
    let of_first = restricted_client(&server, &one, &first).await;
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
                let (projects, is_theirs) = (client.project.clone(), theirs.contains(&id));
                let request = pb::GetProjectRequest {
                    project_id: id.clone(),
                    ..Default::default()
                };
                reads.spawn(async move {
                    let read = until_available(|| {
                        let (mut projects, request) = (projects.clone(), request.clone());
                        async move { projects.get_project(request).await }
                    });
                    (request.project_id.clone(), is_theirs, read.await)
                });
            }
            let (projects, theirs) = (client.project.clone(), theirs.clone());
            let mut theirs: Vec<_> = theirs.into_iter().cloned().collect();
            theirs.reverse();
            lists.spawn(async move {
                let listed = until_available(|| {
                    let mut projects = projects.clone();
                    async move {
                        projects
                            .list_projects(pb::ListProjectsRequest::default())
                            .await
                    }
                });
                let listed = listed.await.unwrap().into_inner().projects;
                let listed: Vec<_> = listed.into_iter().map(|it| it.id).collect();
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
