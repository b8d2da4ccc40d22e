//! Several PostgreSQL servers, of which one is the primary.

use std::{env, time::Duration};

use sluice::proto::v1 as pb;
use sqlx::Row;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::workload::Workload;
use crate::harness::{
    Client, PostgresServer, Process, Sqlite, TestDatabase, TestServer, eventually, refused,
};

/// The maximum time from the promotion of a standby until no call fails any more: 3 seconds with
/// `make failover`, which runs this test alone; otherwise others run in parallel.
fn max_recovery() -> Duration {
    let seconds = match env::var("SLUICE_TEST_MAX_RECOVERY") {
        Ok(text) => text.parse().expect("SLUICE_TEST_MAX_RECOVERY is a number"),
        Err(_) => 25,
    };
    Duration::from_secs(seconds)
}

const SETTINGS: [&str; 4] = [
    "--caller-rate=0",
    "--db-pool-size=6",
    "--db-acquire-timeout=6s",
    "--db-timeout=6s",
];

/// The sessions of an application.
async fn sessions(server: &PostgresServer, application: &str) -> i64 {
    let mut connection = server.connection().await;
    let count = sqlx::query("select count(*) from pg_stat_activity where application_name = $1");
    let count = count.bind(application).fetch_one(&mut connection).await;
    count.unwrap().get(0)
}

async fn count_projects(server: &PostgresServer) -> usize {
    let mut connection = server.connection().await;
    let count = sqlx::query_scalar::<_, i64>("select count(*) from projects");
    let count = count.fetch_one(&mut connection).await.unwrap();
    usize::try_from(count).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_continue_on_a_promoted_standby_and_no_acknowledged_one_is_lost() {
    let primary = PostgresServer::start().await;
    let standby = primary.start_synchronous_standby().await;
    let servers = [&primary, &standby];
    let database = PostgresServer::database_of(&servers, "&target_session_attrs=read-write");
    let server = TestServer::start_on(database, &SETTINGS).await;
    let ada = server.user().await;
    let calls = Workload::start(&server).await;
    calls.writes().await;

    primary.kill();
    sleep(Duration::from_millis(500)).await;
    standby.promote().await;
    let promoted = Instant::now();

    let request = pb::UpdateMeRequest {
        display_name: Some("Ada".to_owned()),
        ..Default::default()
    };
    eventually("a write succeeds", async || {
        let mut auth = ada.client.auth.clone();
        auth.update_me(request.clone()).await.ok()
    })
    .await;
    let (recovery, max_recovery) = (promoted.elapsed(), max_recovery());
    println!("a write succeeds {recovery:?} after the promotion");
    assert!(recovery < max_recovery, "{recovery:?}");
    eventually("it listens to the new primary", async || {
        (sessions(&standby, "sluice-listener").await == 1).then_some(())
    })
    .await;
    sleep(max_recovery.saturating_sub(promoted.elapsed())).await;
    calls.writes().await;

    let mut projects = 0;
    for record in calls.stop().await {
        let mut failures = record.failures.iter();
        let late = failures.find(|(time, _)| *time > promoted + max_recovery);
        assert!(late.is_none(), "{late:?}");
        projects += record.verify_writes().await;
    }
    assert_eq!(count_projects(&standby).await, projects);
    server.stop().await;
}

#[tokio::test]
async fn every_connection_passes_over_a_standby() {
    let primary = PostgresServer::start().await;
    let standby = primary.start_synchronous_standby().await;

    // Separate variables.
    let hosts = [
        ("DB_HOST", "127.0.0.1,127.0.0.1"),
        (
            "DB_PORT",
            &*format!("{},{}", standby.port(), primary.port()),
        ),
        ("DB_USER", "postgres"),
        ("DB_NAME", "postgres"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let data = ("SLUICE_DATA_DIR", folder.path().to_str().unwrap());
    let settings: Vec<_> = hosts.into_iter().chain([data]).collect();
    let migrated = Process::run(Process::command(&["migrate"], &settings)).await;
    assert_eq!(migrated.exit_code, Some(0), "{}", migrated.stderr);

    // The pool and the listener.
    let database = PostgresServer::database_of(&[&standby, &primary], "");
    let server = TestServer::start_on(database, &[]).await;
    server.user().await;
    eventually("it listens to the primary", async || {
        (sessions(&primary, "sluice-listener").await == 1).then_some(())
    })
    .await;
    assert_eq!(sessions(&standby, "sluice").await, 0);
    let database = server.stop().await;

    // The copy.
    let target = TestDatabase::empty(Sqlite).await;
    let copy = Process::admin(&database, &["copy", "--to", &target.url], &[]);
    let copied = Process::run(copy).await;
    assert_eq!(copied.exit_code, Some(0), "{}", copied.stderr);
    assert_eq!(target.number("select count(*) from users").await, 1);
}

#[tokio::test]
async fn without_a_primary_calls_are_unavailable_and_the_start_waits() {
    let primary = PostgresServer::start().await;
    let standby = primary.start_synchronous_standby().await;
    let database = PostgresServer::database_of(&[&standby], "");
    let server = Process::serve(&database, &[("SLUICE_DB_ACQUIRE_TIMEOUT", "200ms")]);
    let address = format!("http://{}", server.address().await);
    eventually("the log says why", async || {
        let log = server.log();
        let expected = "is a standby or read-only: name the primary, or all servers (DATABASE_URL)";
        log.iter().any(|line| line.contains(expected)).then_some(())
    })
    .await;
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap();
    let mut auth = Client::anonymous(&channel.connect_lazy()).auth;
    let refusal = refused(auth.get_jwks(pb::GetJwksRequest {}).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "STARTING"));

    standby.promote().await;

    server.channel().await;
}

#[tokio::test]
async fn with_any_a_standby_serves_reads_and_refuses_writes() {
    let primary = PostgresServer::start().await;
    let standby = primary.start_synchronous_standby().await;
    let database = PostgresServer::database_of(&[&primary, &standby], "&target_session_attrs=any");
    let server = TestServer::start_on(database, &SETTINGS).await;
    let mut auth = server.user().await.client.auth;

    primary.kill();

    eventually("the standby serves reads", async || {
        auth.get_me(pb::GetMeRequest {}).await.ok()
    })
    .await;
    let refusal = refused(auth.update_me(pb::UpdateMeRequest::default()).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
}

#[tokio::test]
async fn no_connection_stays_on_a_server_that_became_read_only() {
    let postgres = PostgresServer::start().await;
    let parameters = "&target_session_attrs=read-write";
    let database = PostgresServer::database_of(&[&postgres], parameters);
    let server =
        TestServer::start_on(database, &["--db-acquire-timeout=2s", "--db-timeout=2s"]).await;
    let ada = server.user().await;
    let mut auth = ada.client.auth.clone();
    let request = pb::UpdateMeRequest {
        display_name: Some("Ada".to_owned()),
        ..Default::default()
    };

    postgres
        .execute("alter system set default_transaction_read_only = on")
        .await;
    postgres.execute("select pg_reload_conf()").await;
    eventually("writes are unavailable", async || {
        let failed = auth.update_me(request.clone()).await;
        failed.is_err().then(|| {
            let class = (Code::Unavailable, "DATABASE_UNAVAILABLE");
            assert_eq!(refused(failed).class(), class);
        })
    })
    .await;
    eventually("no connection remains", async || {
        (sessions(&postgres, "sluice").await == 0).then_some(())
    })
    .await;

    postgres
        .execute("alter system reset default_transaction_read_only")
        .await;
    postgres.execute("select pg_reload_conf()").await;
    eventually("writes succeed again", async || {
        auth.update_me(request.clone()).await.ok()
    })
    .await;
}
