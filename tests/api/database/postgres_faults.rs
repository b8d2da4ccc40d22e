use std::time::Duration;

use sqlx::Row;
use tokio::time::{Instant, sleep, timeout};

use super::workload::Workload;
use crate::harness::{PostgresServer, Proxy, TestDatabase, TestServer};

/// The pool size of the server.
const POOL: i64 = 6;

const SETTINGS: [&str; 4] = [
    "--caller-rate=0",
    "--db-pool-size=6",
    "--db-acquire-timeout=6s",
    "--db-timeout=6s",
];

/// Time limit until the whole pool is usable again. It takes less than two seconds alone, but
/// other tests run in parallel.
const RECOVERY: Duration = Duration::from_secs(30);

/// Runs a fault while a server is under load, then checks the pool and all writes.
async fn assert_survives(
    postgres: &PostgresServer,
    database: TestDatabase,
    fault: impl AsyncFnOnce(&PostgresServer),
) {
    let server = TestServer::start_on(database, &SETTINGS).await;
    let calls = Workload::start(&server).await;
    calls.writes().await;

    fault(postgres).await;
    let over = Instant::now();
    let all = timeout(RECOVERY, wait_until_whole_pool_waits(postgres)).await;
    assert!(all.is_ok(), "{}", sessions(postgres).await);
    let usable = Instant::now();
    sleep((over + RECOVERY).saturating_duration_since(usable)).await;
    let recovered = Instant::now();
    calls.writes().await;

    let mut projects = 0;
    for record in calls.stop().await {
        let late = record.failures.iter().find(|(time, _)| *time > recovered);
        assert!(late.is_none(), "{late:?}");
        projects += record.verify_writes().await;
    }
    let mut connection = postgres.connection().await;
    let count = sqlx::query_scalar::<_, i64>("select count(*) from projects");
    let count = count.fetch_one(&mut connection).await.unwrap();
    assert_eq!(usize::try_from(count).unwrap(), projects);
    server.stop().await;
}

/// The state of all sessions, as text.
async fn sessions(postgres: &PostgresServer) -> String {
    let mut connection = postgres.connection().await;
    let sessions = "select coalesce(string_agg(concat_ws(' ', application_name, state,
                               wait_event_type, wait_event, query_start, left(query, 60)), E'\n'), '')
                    from pg_stat_activity";
    let sessions = sqlx::query_scalar(sessions);
    sessions.fetch_one(&mut connection).await.unwrap()
}

/// Waits until as many calls wait for one lock as the pool has connections.
async fn wait_until_whole_pool_waits(postgres: &PostgresServer) {
    let mut holder = postgres.connection().await;
    // Not on `holder`: within a transaction, pg_stat_activity does not change.
    let mut looking = postgres.connection().await;
    let hold = "begin; lock table projects in access exclusive mode";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    loop {
        let waiting = sqlx::query(
            "select count(*)
             from pg_stat_activity
             where application_name = 'sluice' and wait_event_type = 'Lock'",
        );
        let waiting: i64 = waiting.fetch_one(&mut looking).await.unwrap().get(0);
        if waiting >= POOL {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    sqlx::raw_sql("rollback")
        .execute(&mut holder)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_frozen_for_half_a_minute_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    assert_survives(&postgres, database, async |postgres| {
        postgres.suspend();
        sleep(Duration::from_secs(30)).await;
        postgres.resume();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_database_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    assert_survives(&postgres, database, async |postgres| postgres.crash().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_database_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    assert_survives(&postgres, database, async |postgres| {
        postgres.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_sessions_cost_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    assert_survives(&postgres, database, async |postgres| {
        let terminate = "select pg_terminate_backend(pid)
                         from pg_stat_activity
                         where backend_type = 'client backend' and pid <> pg_backend_pid()";
        postgres.execute(terminate).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresponsive_network_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let (database, proxy) = Proxy::to_database(postgres.database()).await;
    assert_survives(&postgres, database, async |_| {
        proxy.blackhole();
        sleep(Duration::from_secs(10)).await;
        proxy.forward();
    })
    .await;
}
