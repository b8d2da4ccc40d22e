use std::time::Duration;

use sqlx::Row;
use tokio::time::{Instant, sleep, timeout};

use super::calls::Calls;
use crate::harness::{PostgresServer, Proxy, TestDatabase, TestServer};

/// The connections that the server may have.
const POOL: i64 = 6;

const SETTINGS: [&str; 4] = [
    "--caller-rate=0",
    "--db-pool-size=6",
    "--db-acquire-timeout=1s",
    "--db-timeout=2s",
];

/// In which time the whole pool must be usable again. By itself it takes less than two
/// seconds; other tests run beside this one.
const RECOVERY: Duration = Duration::from_secs(8);

/// Has a server under load go through a fault, and looks at what is left after it.
async fn survive(
    postgres: &PostgresServer,
    database: TestDatabase,
    fault: impl AsyncFnOnce(&PostgresServer),
) {
    let server = TestServer::over(database, &SETTINGS).await;
    let calls = Calls::start(&server).await;
    sleep(Duration::from_millis(500)).await;

    fault(postgres).await;
    let over = Instant::now();
    let all = timeout(RECOVERY, whole_pool_at_once(postgres)).await;
    assert!(all.is_ok(), "{}", sessions(postgres).await);
    let usable = Instant::now();
    sleep((over + RECOVERY).saturating_duration_since(usable)).await;
    let recovered = Instant::now();
    sleep(Duration::from_millis(500)).await;

    let mut projects = 0;
    let mut made = 0;
    for account in calls.stop().await {
        let late = account.failures.iter().find(|(time, _)| *time > recovered);
        assert!(late.is_none(), "{late:?}");
        made += account.made();
        projects += account.settle().await;
    }
    assert!(made > 20, "{made}");
    let mut connection = postgres.connection().await;
    let count = sqlx::query_scalar::<_, i64>("select count(*) from projects");
    let count = count.fetch_one(&mut connection).await.unwrap();
    assert_eq!(usize::try_from(count).unwrap(), projects);
    server.stop().await;
}

/// What the server's connections do.
async fn sessions(postgres: &PostgresServer) -> String {
    let mut connection = postgres.connection().await;
    let sessions = "select coalesce(string_agg(concat_ws(' ', application_name, state,
                               wait_event_type, wait_event, query_start, left(query, 60)), E'\n'), '')
                    from pg_stat_activity";
    let sessions = sqlx::query_scalar(sessions);
    sessions.fetch_one(&mut connection).await.unwrap()
}

/// Returns when so many calls as there are connections wait for one lock at once.
async fn whole_pool_at_once(postgres: &PostgresServer) {
    let mut holder = postgres.connection().await;
    // Within a transaction the sessions are always what they were at first.
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
async fn a_database_that_stands_still_for_half_a_minute_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    survive(&postgres, database, async |postgres| {
        postgres.freeze();
        sleep(Duration::from_secs(30)).await;
        postgres.thaw();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    survive(&postgres, database, async |postgres| postgres.crash().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_restarted_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    survive(&postgres, database, async |postgres| {
        postgres.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_sessions_cost_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let database = postgres.database();
    survive(&postgres, database, async |postgres| {
        let terminate = "select pg_terminate_backend(pid)
                         from pg_stat_activity
                         where backend_type = 'client backend' and pid <> pg_backend_pid()";
        postgres.execute(terminate).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_goes_silent_costs_no_connection_and_no_write() {
    let postgres = PostgresServer::start().await;
    let (database, proxy) = Proxy::before(postgres.database()).await;
    survive(&postgres, database, async |_| {
        proxy.hush();
        sleep(Duration::from_secs(5)).await;
        proxy.speak();
    })
    .await;
}
