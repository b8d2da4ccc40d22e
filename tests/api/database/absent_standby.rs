//! A PostgreSQL server whose synchronous standby is absent: no commit ends.

use std::time::Duration;

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{Code, Response};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{
    Client, PostgresServer, RawConnection, TestServer, User, eventually, refused,
};

/// The connections of the pool.
const POOL: i64 = 5;

/// Connections beside the pool: the one for LISTEN, that for the leadership of jobs, and the one that
/// asks about statements that were given up.
const OTHERS: i64 = 3;

const CREATE_PROJECT: &str = "sluice.v1.ProjectService/CreateProject";

const SETTINGS: [&str; 4] = [
    "--caller-rate=0",
    "--db-pool-size=5",
    "--db-acquire-timeout=3s",
    "--db-timeout=3s",
];

/// Lets commits wait for a standby with a name, which does not exist, or for none.
async fn wait_for_standby(postgres: &PostgresServer, name: &str) {
    let wait = format!("alter system set synchronous_standby_names = '{name}'");
    postgres.execute(&wait).await;
    postgres.execute("select pg_reload_conf()").await;
    let setting = format!("select current_setting('synchronous_standby_names') = '{name}'");
    eventually("the setting is read", async || {
        let mut connection = postgres.connection().await;
        let set: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(setting.clone()))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        set.then_some(())
    })
    .await;
}

/// The sessions of the server under test.
async fn backends(postgres: &PostgresServer) -> i64 {
    let mut connection = postgres.connection().await;
    let count = "select count(*) from pg_stat_activity where application_name like 'sluice%'";
    let count = sqlx::query_scalar(count);
    count.fetch_one(&mut connection).await.unwrap()
}

fn new_project(request_id: &str) -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

/// Calls until the time is over; each call must succeed.
async fn read(client: Client, project_id: String, until: Instant) -> u32 {
    let mut reads = 0;
    while Instant::now() < until {
        let request = pb::GetProjectRequest {
            project_id: project_id.clone(),
            ..Default::default()
        };
        client.project.clone().get_project(request).await.unwrap();
        reads += 1;
        sleep(Duration::from_millis(20)).await;
    }
    reads
}

/// Creates projects until the time is over; each call must fail, because nothing is safe.
async fn write(client: Client, until: Instant) {
    while Instant::now() < until {
        let refusal = refused(client.project.clone().create_project(new_project("")).await);
        assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    }
}

async fn started() -> (PostgresServer, TestServer, User) {
    let postgres = PostgresServer::start().await;
    let server = TestServer::start_on(postgres.database(), &SETTINGS).await;
    let user = server.user().await;
    (postgres, server, user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_for_a_standby_take_no_more_connections_than_the_pool_has() {
    let (postgres, server, user) = started().await;
    let (project, _) = user.project().await;
    wait_for_standby(&postgres, "absent").await;

    let until = Instant::now() + Duration::from_secs(20);
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        calls.spawn(write(user.client.clone(), until));
    }
    let reading = tokio::spawn(read(user.client.clone(), project.id.clone(), until));
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(backends(&postgres).await);
        sleep(Duration::from_millis(50)).await;
    }
    calls.join_all().await;
    // It still serves reads.
    server.wait_for_health(ServingStatus::Serving).await;

    assert!(most <= POOL + OTHERS, "{most} connections");
    // Reads have connections of their own.
    assert!(reading.await.unwrap() > 20);

    wait_for_standby(&postgres, "").await;
    eventually("writes succeed again", async || {
        let mut client = user.client.project.clone();
        client.create_project(new_project("")).await.ok()
    })
    .await;
    eventually("no connection is held any more", async || {
        let idle = "select count(*) from pg_stat_activity
                    where application_name = 'sluice' and state <> 'idle'";
        let mut connection = postgres.connection().await;
        let count: i64 = sqlx::query_scalar(idle)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        (count == 0).then_some(())
    })
    .await;
    server.stop().await;
}

#[rstest]
#[case::without_deadline(None, (Code::Unavailable, "DATABASE_UNAVAILABLE"))]
#[case::with_a_shorter_deadline(Some("300m"), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waited_for_a_standby_is_found_by_its_repetition(
    #[case] deadline: Option<&str>,
    #[case] class: (Code, &str),
) {
    let (postgres, server, user) = started().await;
    wait_for_standby(&postgres, "absent").await;
    let request = new_project("01890a5d-ac96-774b-bcce-b302099a8057");
    let bearer = format!("Bearer {}", user.tokens.access_token);
    let mut headers = vec![("authorization", &*bearer)];
    headers.extend(deadline.map(|timeout| ("grpc-timeout", timeout)));
    let mut raw = RawConnection::to(server.address).await;
    let status = raw.call(CREATE_PROJECT, &headers, &request).await;
    let refusal = refused(Err::<Response<()>, _>(status));
    assert_eq!(refusal.class(), class);
    let mut client = user.client.project.clone();
    // What is not safe on the standby is not shown either.
    let list = pb::ListProjectsRequest::default();
    let listed = client.list_projects(list.clone()).await.unwrap();
    assert_eq!(listed.into_inner().projects, []);

    wait_for_standby(&postgres, "").await;

    eventually("the repetition succeeds", async || {
        client.create_project(request.clone()).await.ok()
    })
    .await;
    let listed = client.list_projects(list).await.unwrap().into_inner();
    assert_eq!(listed.projects.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_in_time_while_its_writes_wait_for_a_standby() {
    let (postgres, server, user) = started().await;
    wait_for_standby(&postgres, "absent").await;
    refused(
        user.client
            .project
            .clone()
            .create_project(new_project(""))
            .await,
    );

    // It fails when the server has not stopped within a minute.
    server.stop().await;
}
