//! PgBouncer between the server and PostgreSQL, in the two modes that work.

use rstest::rstest;
use sluice::proto::v1 as pb;
use sqlx::ConnectOptions;
use sqlx_postgres::{PgConnectOptions, PgConnection};
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    harness::{
        BackgroundCalls, Client, MediaServer, PgBouncer, PoolMode, Postgres, Process, TestDatabase,
        TestServer, User, Watcher, eventually, refused,
    },
    lifecycle::startup::outcome,
    relay::fixture::{Fixture, broadcasting_report},
};

/// The sessions of PostgreSQL that PgBouncer has in transaction mode.
pub const TRANSACTION_POOL_SIZE: u32 = 4;

/// The number of media servers that publish at the same time.
const PUBLISHERS: usize = 6;

/// Sessions of replicas that listen to each other.
const LISTENERS: &str = "select count(*) from pg_stat_activity
    where application_name = 'sluice-listener' and datname = current_database()";

/// A server that uses a database through PgBouncer. In transaction mode the server has more
/// connections than PgBouncer.
pub async fn start(mode: PoolMode) -> (PgBouncer, TestServer) {
    // Long timeouts: all calls wait for few sessions.
    start_with_timeout(mode, "50s").await
}

/// With a timeout for connections and statements.
pub async fn start_with_timeout(mode: PoolMode, timeout: &str) -> (PgBouncer, TestServer) {
    let database = TestDatabase::create(Postgres).await;
    let pool_size = match mode {
        PoolMode::Transaction => TRANSACTION_POOL_SIZE,
        PoolMode::Session => 30,
    };
    let pooler = PgBouncer::start(&database, mode, pool_size).await;
    let [url, declared] = pooler.flags();
    // Fewer statements of jobs than in other tests: all calls wait for few sessions.
    let flags = [
        &*url,
        &declared,
        "--db-pool-size=8",
        &format!("--db-acquire-timeout={timeout}"),
        &format!("--db-timeout={timeout}"),
        "--reap-interval=1s",
    ];
    let server = TestServer::start_on(database, &flags).await;
    (pooler, server)
}

/// A client that keeps a session of PostgreSQL, with a transaction that it has begun.
pub async fn hold_session(pooler: &PgBouncer) -> PgConnection {
    let options: PgConnectOptions = pooler.url.parse().unwrap();
    let options = options.extra_float_digits(None);
    let mut client = options.connect().await.unwrap();
    let begin = sqlx::raw_sql("begin");
    begin.execute(&mut client).await.unwrap();
    client
}

/// Publishes with a key, and with the next key after it was rotated.
async fn publish(owner: User, media: MediaServer, connection: String) {
    let (project, key) = owner.project().await;
    let stream = media.live(&key, &connection).await;
    for _ in 0..20 {
        let answer = media.heartbeat(&stream, &connection).await;
        assert_eq!(answer.action(), pb::PublishAction::Continue);
    }
    media.end(&stream, &connection).await;

    let rotation = pb::RotateStreamKeyRequest {
        project_id: project.id,
        grace: None,
        ..Default::default()
    };
    let mut projects = owner.client.project.clone();
    let rotated = projects.rotate_stream_key(rotation).await;
    let rotated = rotated.unwrap().into_inner();
    let refusal = refused(media.begin(&key, &format!("{connection}-old")).await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
    media
        .live(&rotated.stream_key, &format!("{connection}-new"))
        .await;
}

/// A relay from its assignment until it broadcasts.
async fn relay(fixture: &Fixture) {
    let (stream, _, worker, assignment) = fixture.claimed_relay().await;
    for bytes in [1_000, 2_000] {
        let report = broadcasting_report(&assignment, bytes);
        worker.expect_accepted(report).await;
    }
    fixture
        .wait_for_state(&stream, pb::RelayState::Broadcasting)
        .await;
}

#[rstest]
#[case(PoolMode::Transaction)]
#[case(PoolMode::Session)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_publishing_watches_relays_and_key_rotation_work_at_the_same_time(
    #[case] mode: PoolMode,
) {
    let (_pooler, server) = start(mode).await;
    let replica = server.replica().await;
    let fixture = Fixture::over(server, 0).await;
    let background = BackgroundCalls::start(&fixture.server, &replica).await;
    let there = Client::with_token(&replica, &fixture.owner.tokens.access_token);
    let (_, mut watcher) = Watcher::start_synced(&there, &fixture.project.id).await;

    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        let (owner, media) = (
            fixture.server.user().await,
            fixture.server.media_server().await,
        );
        publishers.spawn(publish(owner, media, format!("c{number}")));
    }
    relay(&fixture).await;
    publishers.join_all().await;

    background.stop().await;
    watcher.read_until(fixture.revision().await).await;
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[case(PoolMode::Transaction)]
#[case(PoolMode::Session)]
#[tokio::test]
async fn the_time_limits_of_the_server_hold(#[case] mode: PoolMode) {
    let (_pooler, server) = start(mode).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let lock = server.database.block_writes().await;

    let request = pb::UpdateProjectRequest {
        project_id: project.id,
        display_name: Some("Another show".to_owned()),
        ..Default::default()
    };
    let refusal = refused(ada.client.project.clone().update_project(request).await);

    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    // At the limit of the client, the message would not say why.
    let expected = "another change of the same data has not ended in time";
    assert_eq!(refusal.message, expected);
    lock.release().await;
}

#[tokio::test]
async fn in_transaction_mode_the_sessions_of_other_clients_keep_their_settings() {
    let (pooler, server) = start(PoolMode::Transaction).await;
    server.user().await;

    let mut others = Vec::new();
    for _ in 0..TRANSACTION_POOL_SIZE {
        let mut other = hold_session(&pooler).await;
        let limit = sqlx::raw_sql("show statement_timeout").fetch_one(&mut other);
        let limit: String = sqlx::Row::get(&limit.await.unwrap(), 0);
        assert_eq!(limit, "0");
        others.push(other);
    }
}

#[tokio::test]
async fn in_transaction_mode_replicas_poll_and_say_so_once() {
    let database = TestDatabase::create(Postgres).await;
    let pooler = PgBouncer::start(&database, PoolMode::Transaction, 2).await;
    let server = Process::serve(&database, &pooler.settings());
    server.channel().await;

    let log = server.log();
    let lines = log.iter().filter(|line| line.contains("by polling"));
    assert_eq!(lines.count(), 1, "{log:?}");
    assert_eq!(database.number(LISTENERS).await, 0);
}

#[tokio::test]
async fn in_session_mode_replicas_listen() {
    let (_pooler, server) = start(PoolMode::Session).await;

    eventually("it listens", async || {
        (server.database.number(LISTENERS).await == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn in_transaction_mode_servers_that_start_at_once_migrate_one_empty_database() {
    let database = TestDatabase::empty(Postgres).await;
    let pooler = PgBouncer::start(&database, PoolMode::Transaction, 2).await;

    let servers: Vec<_> = (0..3)
        .map(|_| Process::serve(&database, &pooler.settings()))
        .collect();

    for server in &servers {
        server.channel().await;
    }
}

#[tokio::test]
async fn an_undeclared_pooler_in_transaction_mode_stops_the_start() {
    let database = TestDatabase::create(Postgres).await;
    let pooler = PgBouncer::start(&database, PoolMode::Transaction, 2).await;
    let settings = [
        ("DATABASE_URL", &*pooler.url),
        (
            "SLUICE_DATA_DIR",
            database.directory.path().to_str().unwrap(),
        ),
        ("SLUICE_LISTEN", "127.0.0.1:0"),
    ];

    let (code, stderr) = outcome(&["serve"], &settings).await;

    assert_eq!(code, Some(1), "{stderr}");
    let last = stderr.lines().last().unwrap();
    let expected = "DATABASE_URL leads to a connection pooler in transaction mode: set \
                    SLUICE_DB_POOLER=transaction";
    assert_eq!(last, format!("sluice: {expected}"));
}

#[tokio::test]
async fn a_copy_needs_the_server_itself() {
    let database = TestDatabase::create(Postgres).await;
    let target = database.directory.path().join("copy.db");
    let target = format!("sqlite:{}", target.display());
    let pooled = [("SLUICE_DB_POOLER", "transaction")];

    let copy = Process::admin(&database, &["copy", "--to", &target], &pooled);
    let output = Process::run(copy).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    assert!(output.stderr.contains("SLUICE_DB_POOLER"), "{output:?}");
}
