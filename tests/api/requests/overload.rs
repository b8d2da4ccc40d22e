use rstest::rstest;
use sluice::proto::v1 as pb;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::{
    BlockedWrites, Client, Engine, Pooled, Postgres, RawConnection, Sqlite, TestServer, User,
    Watcher, eventually, refused,
};

/// Eight concurrent calls: seven for everybody, one reserved for machine callers.
const EIGHT_CALLS: [&str; 2] = ["--max-calls=8", "--db-acquire-timeout=20s"];

const OVERLOADED: (Code, &str) = (Code::ResourceExhausted, "OVERLOADED");

fn get(project: &pb::Project) -> pb::GetProjectRequest {
    pb::GetProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    }
}

/// Calls in progress, with their results.
type PendingCalls = JoinSet<Result<(), Status>>;

async fn create_project(client: Client) -> Result<(), Status> {
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let mut projects = client.project;
    projects.create_project(request).await.map(drop)
}

/// Uses the seven permits for calls that wait for a lock. Three more are refused.
async fn use_all_permits(server: &TestServer, user: &User) -> (BlockedWrites, PendingCalls) {
    let blocked = server.database.block_writes().await;
    let mut calls = PendingCalls::new();
    for _ in 0..10 {
        calls.spawn(create_project(user.client.clone()));
    }
    for _ in 0..3 {
        let refusal = calls.join_next().await.unwrap().unwrap();
        let refusal = refused(refusal.map(Response::new));
        assert_eq!(refusal.class(), OVERLOADED);
    }
    (blocked, calls)
}

#[rstest]
#[tokio::test]
async fn a_call_over_the_limit_is_refused_and_earlier_ones_are_answered(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &EIGHT_CALLS).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;

    let (blocked, calls) = use_all_permits(&server, &ada).await;
    let mut projects = ada.client.project.clone();
    let refusal = refused(projects.get_project(get(&project)).await);
    assert_eq!(refusal.class(), OVERLOADED);

    blocked.release().await;
    for call in calls.join_all().await {
        call.unwrap();
    }
    projects.get_project(get(&project)).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn media_servers_are_served_while_others_are_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &EIGHT_CALLS).await;
    let ada = server.user().await;
    let (_, stream_key) = ada.project().await;
    let media = server.media_server().await;
    let stream = media.live(&stream_key, "c1").await;

    let (blocked, _calls) = use_all_permits(&server, &ada).await;
    let answer = match engine {
        Postgres | Pooled => media.heartbeat(&stream, "c1").await,
        // On SQLite no heartbeat can be written before the lock is released.
        Sqlite => {
            let (answer, ()) = tokio::join!(media.heartbeat(&stream, "c1"), blocked.release());
            answer
        }
    };

    assert_eq!(answer.action(), pb::PublishAction::Continue);
}

#[rstest]
#[tokio::test]
async fn a_user_has_a_quarter_of_the_concurrent_calls(#[values(Sqlite, Postgres)] engine: Engine) {
    const SHARE: usize = 16;
    let flags = ["--max-calls=64", "--db-acquire-timeout=20s"];
    let server = TestServer::start_with(engine, &flags).await;
    let ada = server.user().await;

    let blocked = server.database.block_writes().await;
    let mut calls = PendingCalls::new();
    for _ in 0..SHARE + 3 {
        calls.spawn(create_project(ada.client.clone()));
    }
    for _ in 0..3 {
        let refusal = calls.join_next().await.unwrap().unwrap();
        assert_eq!(refused(refusal.map(Response::new)).class(), OVERLOADED);
    }
    blocked.release().await;
    let created = calls.join_all().await;
    assert_eq!(created.len(), SHARE);
    for call in created {
        call.unwrap();
    }
}

#[tokio::test]
async fn a_user_with_many_slow_calls_does_not_keep_others_from_the_database() {
    let flags = ["--db-pool-size=5", "--db-acquire-timeout=20s"];
    let server = TestServer::start_with(Postgres, &flags).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (project, _) = ada.project().await;
    let mut lock = PgConnection::connect(&server.database.url).await.unwrap();
    let row = format!(
        "begin; select from projects where id = '{}' for update",
        project.id
    );
    sqlx::raw_sql(AssertSqlSafe(row))
        .execute(&mut lock)
        .await
        .unwrap();

    let mut calls = JoinSet::new();
    for number in 0..20 {
        let mut projects = ada.client.project.clone();
        let request = pb::UpdateProjectRequest {
            project_id: project.id.clone(),
            display_name: Some(format!("Show {number}")),
            ..Default::default()
        };
        calls.spawn(async move { projects.update_project(request).await });
    }
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
                   and datname = current_database()";
    eventually("they wait for the row", async || {
        (server.database.number(waiting).await == 2).then_some(())
    })
    .await;

    for _ in 0..10 {
        create_project(grace.client.clone()).await.unwrap();
    }
    assert!(calls.try_join_next().is_none());
    lock.close().await.unwrap();
    for call in calls.join_all().await {
        call.unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn health_checks_are_answered_while_others_are_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &EIGHT_CALLS).await;
    let ada = server.user().await;

    let (_blocked, _calls) = use_all_permits(&server, &ada).await;

    let mut health = HealthClient::new(server.channel.clone());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
}

#[rstest]
#[tokio::test]
async fn watches_and_incomplete_requests_do_not_count_as_concurrent_calls(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &EIGHT_CALLS).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let mut raw = RawConnection::to(server.address).await;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    let headers = [("authorization", &*bearer)];

    let (mut watches, mut incomplete) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        watches.push(Watcher::start_synced(&ada.client, &project.id).await);
        incomplete.push(
            raw.begin("sluice.v1.ProjectService/GetProject", &headers)
                .await,
        );
    }

    let mut projects = ada.client.project.clone();
    projects.get_project(get(&project)).await.unwrap();
    for request in incomplete {
        assert_eq!(request.finish(&get(&project)).await.code(), Code::Ok);
    }
}

#[rstest]
#[case::sluice_rpc("sluice.v1.AuthService/GetJwks")]
#[case::health_check("grpc.health.v1.Health/Check")]
#[tokio::test]
async fn incomplete_requests_are_limited_and_release_their_permits_when_cancelled(
    #[case] rpc: &str,
) {
    let server = TestServer::start_with(Sqlite, &EIGHT_CALLS).await;
    let mut raw = RawConnection::to(server.address).await;

    // Sixteen of each connection. Sixteen refusals would end it.
    let mut incomplete = Vec::new();
    for _ in 0..24 {
        incomplete.push(raw.begin("sluice.v1.AuthService/GetJwks", &[]).await);
    }
    let status = raw.begin(rpc, &[]).await.status().await;
    let refusal = refused(Err::<Response<()>, _>(status));
    assert_eq!(refusal.class(), OVERLOADED);

    drop(incomplete);
    let mut anonymous = server.anonymous().auth;
    eventually("a permit is free again", async || {
        let answer = anonymous.get_jwks(pb::GetJwksRequest {}).await;
        answer.ok()
    })
    .await;
}

#[rstest]
#[case::health_check("grpc.health.v1.Health/Check")]
#[tokio::test]
async fn an_incomplete_request_to_any_service_times_out(#[case] rpc: &str) {
    let server = TestServer::start_with(Sqlite, &["--call-timeout=1s"]).await;
    let mut raw = RawConnection::to(server.address).await;

    let status = raw.begin(rpc, &[]).await.status().await;

    let allowed = [Code::DeadlineExceeded, Code::Unimplemented];
    assert!(allowed.contains(&status.code()), "{status:?}");
}
