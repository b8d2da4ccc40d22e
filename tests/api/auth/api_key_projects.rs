use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Response, Status};

use super::calls::{api_key_request, api_key_token, call_rpc, masked, new_api_key};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User, refused};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A key with all scopes that is restricted to some projects: its access token and its
/// secret.
async fn restricted(server: &TestServer, user: &User, projects: &[&str]) -> (String, String) {
    let request = pb::CreateApiKeyRequest {
        project_ids: projects.iter().map(ToString::to_string).collect(),
        ..api_key_request(&Scope::USER_SCOPES.map(Scope::as_str))
    };
    let (_, secret) = new_api_key(user, request).await;
    (api_key_token(server, &secret).await, secret)
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
        display_name: "Elsewhere".to_owned(),
        url: "rtmps://live.example.com/app".to_owned(),
        stream_key: "a-long-stream-key".to_owned(),
        ..Default::default()
    }
}

/// Creates a destination and a stream in a project; returns their ids.
async fn fill_project(
    server: &TestServer,
    user: &User,
    project: &str,
    key: &str,
) -> (String, String) {
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

/// Calls each RPC that takes one of these ids, in an order in which no call makes the next
/// one fail; returns the results.
async fn call_each_rpc(
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
        ("/sluice.v1.StreamService/ListStreamSamples", stream),
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
            ..Default::default()
        };
        answers.push((path, call_rpc(server, path, token, message).await));
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
    let (destination, stream) = fill_project(&server, &ada, &show.id, &stream_key).await;
    let (token, _) = restricted(&server, &ada, &[&show.id]).await;

    let ids = [&*show.id, &*destination, &*stream];
    for (rpc, answer) in call_each_rpc(&server, &token, ids).await {
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
    let (destination, stream) = fill_project(&server, &ada, &other.id, &stream_key).await;
    let (token, _) = restricted(&server, &ada, &[&show.id]).await;

    let ids = [&*other.id, &*destination, &*stream];
    let hidden = call_each_rpc(&server, &token, ids).await;
    let unknown = call_each_rpc(&server, &token, [UNKNOWN; 3]).await;
    let observed = |rpc: &str, answer: Result<Response<()>, Status>| {
        let refusal = refused(answer);
        assert_eq!(refusal.class(), NOT_FOUND, "{rpc}");
        let id = refusal
            .details
            .resource_info()
            .unwrap()
            .resource_name
            .clone();
        (masked(&refusal, &id), id)
    };
    for ((rpc, hidden), (_, unknown)) in hidden.into_iter().zip(unknown) {
        let (hidden, unknown) = (observed(rpc, hidden), observed(rpc, unknown));
        assert_eq!(hidden.0, unknown.0, "{rpc}");
        assert!(ids.contains(&&*hidden.1), "{rpc}");
    }

    // The owner can call them all, so the calls failed for no other reason.
    for (rpc, answer) in call_each_rpc(&server, &ada.tokens.access_token, ids).await {
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

    // A page token of the user's own list does not work for the key.
    let mut request = pb::ListProjectsRequest {
        page_size: 1,
        page_token: String::new(),
        ..Default::default()
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
        display_name: "Another".to_owned(),
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
        ..Default::default()
    };
    let mut projects = ada.client.project.clone();
    projects.delete_project(request).await.unwrap();

    // First marked as deleted, later removed for good.
    for removal in [
        "select 1",
        "delete from projects where delete_time is not null",
    ] {
        server.database.execute(removal).await;
        for token in [&before, &api_key_token(&server, &secret).await] {
            assert_eq!(list_projects(&server, token).await, []);
        }
    }
    assert_eq!(
        list_projects(&server, &ada.tokens.access_token).await,
        [other]
    );
}
