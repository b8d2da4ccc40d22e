use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response};

use crate::harness::{
    Client, Engine, Postgres, RawConnection, Sqlite, TestServer, User, Watcher, eventually, refused,
};

const CREATE: &str = "sluice.v1.ProjectService/CreateProject";
const GET: &str = "sluice.v1.ProjectService/GetProject";
const WATCH: &str = "sluice.v1.StreamService/WatchProject";
const EXCEEDED: (Code, &str) = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");

fn bearer(user: &User) -> String {
    format!("Bearer {}", user.tokens.access_token)
}

/// A server with these flags, and a user who signed up before they were set.
async fn server_with(engine: Engine, flags: &[&str]) -> (TestServer, User) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    restart_with(server, user, flags).await
}

async fn restart_with(server: TestServer, user: User, flags: &[&str]) -> (TestServer, User) {
    let server = TestServer::start_on(server.stop().await, flags).await;
    let client = Client::with_token(&server.channel, &user.tokens.access_token);
    (server, User { client, ..user })
}

fn create_project() -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    }
}

#[rstest]
#[tokio::test]
async fn a_call_that_exceeds_the_server_timeout_ends_and_changes_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, ada) = server_with(engine, &["--call-timeout=3s"]).await;
    let mut ada = ada.client;

    let blocked = server.database.block_writes().await;
    let refusal = refused(ada.project.create_project(create_project()).await);
    assert_eq!(refusal.class(), EXCEEDED);
    blocked.release().await;

    let again = pb::CreateProjectRequest {
        request_id: "11111111-1111-4111-8111-111111111111".to_owned(),
        ..create_project()
    };
    let created = eventually("projects can be created again", async || {
        ada.project.create_project(again.clone()).await.ok()
    })
    .await;
    let list = ada
        .project
        .list_projects(pb::ListProjectsRequest::default());
    let projects = list.await.unwrap().into_inner().projects;
    assert_eq!(projects, Vec::from_iter(created.into_inner().project));
}

#[rstest]
#[tokio::test]
async fn the_shorter_of_grpc_timeout_and_server_timeout_applies(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(("200m", "10min"), ("1H", "200ms"))] (grpc_timeout, server_timeout): (&str, &str),
) {
    let flag = format!("--call-timeout={server_timeout}");
    let (server, ada) = server_with(engine, &[&flag]).await;
    let mut raw = RawConnection::to(server.address).await;

    let _blocked = server.database.block_writes().await;
    let headers = [
        ("authorization", &*bearer(&ada)),
        ("grpc-timeout", grpc_timeout),
    ];
    let status = raw.call(CREATE, &headers, &create_project()).await;

    let refusal = refused(Err::<Response<()>, _>(status));
    assert_eq!(refusal.class(), EXCEEDED);
}

#[rstest]
#[case::no_unit("10")]
#[case::nine_digits("100000000n")]
#[case::garbage("soon")]
#[tokio::test]
async fn a_malformed_grpc_timeout_is_ignored(#[case] time: &str) {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    let request = pb::GetProjectRequest {
        project_id: ada.project().await.0.id,
        ..Default::default()
    };
    let mut raw = RawConnection::to(server.address).await;

    let headers = [("authorization", &*bearer(&ada)), ("grpc-timeout", time)];
    let status = raw.call(GET, &headers, &request).await;

    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test]
async fn an_incomplete_request_times_out() {
    let (server, ada) = server_with(Sqlite, &["--call-timeout=200ms"]).await;
    let mut raw = RawConnection::to(server.address).await;

    let headers = [("authorization", &*bearer(&ada))];
    let status = raw.begin(GET, &headers).await.status().await;

    let refusal = refused(Err::<Response<()>, _>(status));
    assert_eq!(refusal.class(), EXCEEDED);
}

#[rstest]
#[tokio::test]
async fn the_server_timeout_does_not_apply_to_a_watch(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--call-timeout=100ms", "--watch-heartbeat=50ms"];
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let (_server, ada) = restart_with(server, ada, &flags).await;

    let (_, mut watcher) = Watcher::start_synced(&ada.client, &project.id).await;
    for _ in 0..10 {
        watcher.next().await;
    }
}

#[rstest]
#[tokio::test]
async fn a_watch_ends_at_its_grpc_timeout(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let request = pb::WatchProjectRequest {
        project_id: ada.project().await.0.id,
        after_revision: 0,
    };
    let mut raw = RawConnection::to(server.address).await;

    let headers = [("authorization", &*bearer(&ada)), ("grpc-timeout", "500m")];
    let status = raw.call(WATCH, &headers, &request).await;

    let refusal = refused(Err::<Response<()>, _>(status));
    assert_eq!(refusal.class(), EXCEEDED);
}
