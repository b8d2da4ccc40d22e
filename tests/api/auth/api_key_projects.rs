use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Response, Status};

use super::calls::{call, key, key_of, token_of, without};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User, refused};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A key of a user that may do everything, but in some projects only: a token
/// and the secret.
async fn restricted(server: &TestServer, user: &User, projects: &[&str]) -> (String, String) {
    let request = pb::CreateApiKeyRequest {
        project_ids: projects.iter().map(ToString::to_string).collect(),
        ..key_of(&Scope::USER_SCOPES.map(Scope::as_str))
    };
    let (_, secret) = key(user, request).await;
    (token_of(server, &secret).await, secret)
}

async fn list_projects(server: &TestServer, token: &str) -> Vec<pb::Project> {
    let mut client = Client::with_token(&server.channel, token);
    let request = pb::ListProjectsRequest::default();
    let answer = client.project.list_projects(request).await;
    answer.unwrap().into_inner().projects
}

fn destination_of(project_id: &str) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        project_id: project_id.to_owned(),
        platform: pb::Platform::Custom.into(),
        name: "Elsewhere".to_owned(),
        url: "rtmps://live.example.com/app".to_owned(),
        stream_key: "a-long-stream-key".to_owned(),
        ..Default::default()
    }
}

/// Makes a destination and a stream in a project: their ids.
async fn fill(server: &TestServer, user: &User, project: &str, key: &str) -> (String, String) {
    let request = destination_of(project);
    let answer = user
        .client
        .project
        .clone()
        .create_destination(request)
        .await;
    let destination = answer.unwrap().into_inner().destination.unwrap();
    let stream = server.media_server().await.live(key, "c1").await;
    (destination.id, stream.id)
}

/// What each RPC answers that takes one of these ids, in an order in which
/// none stands in the way of the next.
async fn use_all(
    server: &TestServer,
    token: &str,
    [project, destination, stream]: [&str; 3],
) -> Vec<(&'static str, Result<Response<()>, Status>)> {
    let calls = [
        ("/sluice.v1.ProjectService/GetProject", project),
        ("/sluice.v1.ProjectService/RevealStreamKey", project),
        ("/sluice.v1.ProjectService/RotateStreamKey", project),
        ("/sluice.v1.ProjectService/UpdateProject", project),
        ("/sluice.v1.ProjectService/ListDestinations", project),
        ("/sluice.v1.ProjectService/GetDestination", destination),
        ("/sluice.v1.ProjectService/UpdateDestination", destination),
        ("/sluice.v1.ProjectService/DeleteDestination", destination),
        ("/sluice.v1.StreamService/ListStreams", project),
        ("/sluice.v1.StreamService/GetStream", stream),
        ("/sluice.v1.StreamService/StopStream", stream),
        ("/sluice.v1.ProjectService/DeleteProject", project),
    ];
    let mut projects = Client::with_token(&server.channel, token).project;
    let created = projects.create_destination(destination_of(project)).await;
    let mut answers = vec![("CreateDestination", created.map(|_| Response::new(())))];
    for (path, id) in calls {
        // The id is the first field of each of these requests.
        let message = pb::GetProjectRequest {
            project_id: id.to_owned(),
        };
        answers.push((path, call(server, path, token, message).await));
    }
    answers
}

#[rstest]
#[tokio::test]
async fn a_restricted_key_can_do_everything_in_its_project(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (show, stream_key) = ada.project().await;
    let (destination, stream) = fill(&server, &ada, &show.id, &stream_key).await;
    let (token, _) = restricted(&server, &ada, &[&show.id]).await;

    let ids = [&*show.id, &*destination, &*stream];
    for (rpc, answer) in use_all(&server, &token, ids).await {
        assert!(answer.is_ok(), "{rpc}: {answer:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_restricted_key_cannot_tell_other_projects_from_nonexistent_ones(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (show, _) = ada.project().await;
    let (other, stream_key) = ada.project().await;
    let (destination, stream) = fill(&server, &ada, &other.id, &stream_key).await;
    let (token, _) = restricted(&server, &ada, &[&show.id]).await;

    let ids = [&*other.id, &*destination, &*stream];
    let hidden = use_all(&server, &token, ids).await;
    let unknown = use_all(&server, &token, [UNKNOWN; 3]).await;
    let told = |rpc: &str, answer: Result<Response<()>, Status>| {
        let refusal = refused(answer);
        assert_eq!(refusal.class(), NOT_FOUND, "{rpc}");
        let id = refusal
            .details
            .resource_info()
            .unwrap()
            .resource_name
            .clone();
        (without(&refusal, &id), id)
    };
    for ((rpc, hidden), (_, unknown)) in hidden.into_iter().zip(unknown) {
        let (hidden, unknown) = (told(rpc, hidden), told(rpc, unknown));
        assert_eq!(hidden.0, unknown.0, "{rpc}");
        assert!(ids.contains(&&*hidden.1), "{rpc}");
    }

    // Their owner can use them all, so nothing else was in the way.
    for (rpc, answer) in use_all(&server, &ada.tokens.access_token, ids).await {
        assert!(answer.is_ok(), "{rpc}: {answer:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_restricted_key_lists_only_its_projects(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let ((first, _), _, (third, _)) = (
        ada.project().await,
        ada.project().await,
        ada.project().await,
    );
    let (token, _) = restricted(&server, &ada, &[&first.id, &third.id]).await;

    assert_eq!(list_projects(&server, &token).await, [third, first]);

    // And a page of its user's whole list is not one of its own.
    let mut request = pb::ListProjectsRequest {
        page_size: 1,
        page_token: String::new(),
    };
    let mut projects = ada.client.project.clone();
    let answer = projects.list_projects(request.clone()).await.unwrap();
    request.page_token = answer.into_inner().next_page_token;
    let mut program = Client::with_token(&server.channel, &token);
    let refusal = refused(program.project.list_projects(request).await);
    assert_eq!(refusal.fields(), ["page_token"]);
}

#[rstest]
#[tokio::test]
async fn a_restricted_key_cannot_create_projects(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (show, _) = ada.project().await;
    let (token, _) = restricted(&server, &ada, &[&show.id]).await;

    let request = pb::CreateProjectRequest {
        name: "Another".to_owned(),
        ..Default::default()
    };
    let mut program = Client::with_token(&server.channel, &token);
    let refusal = refused(program.project.create_project(request).await);

    let class = (Code::PermissionDenied, "API_KEY_RESTRICTED");
    assert_eq!(refusal.class(), class);
    assert_eq!(
        list_projects(&server, &ada.tokens.access_token).await,
        [show]
    );
}

#[rstest]
#[tokio::test]
async fn a_restricted_key_lists_nothing_after_its_projects_are_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let ((show, _), (other, _)) = (ada.project().await, ada.project().await);
    let (before, secret) = restricted(&server, &ada, &[&show.id]).await;
    let request = pb::DeleteProjectRequest {
        project_id: show.id.clone(),
        force: false,
    };
    let mut projects = ada.client.project.clone();
    projects.delete_project(request).await.unwrap();

    // First marked as deleted, later removed for good.
    for removal in [
        "select 1",
        "delete from projects where delete_time is not null",
    ] {
        server.database.execute(removal).await;
        for token in [&before, &token_of(&server, &secret).await] {
            assert_eq!(list_projects(&server, token).await, []);
        }
    }
    assert_eq!(
        list_projects(&server, &ada.tokens.access_token).await,
        [other]
    );
}
