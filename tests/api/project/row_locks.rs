//! PostgreSQL row locks, and the calls that they block.

use sluice::proto::v1 as pb;
use sqlx::{AssertSqlSafe, Connection, raw_sql};
use sqlx_postgres::PgConnection;
use tokio::task::JoinSet;

use super::{
    batched_writes::{LOCK_WAITERS, rename},
    fixtures::get_project,
};
use crate::harness::{Postgres, TestServer, User, eventually};

/// Blocked calls wait for their lock until the test ends, each with a connection of the pool.
const LONG_TIMEOUTS: [&str; 3] = [
    "--caller-burst=100000",
    "--db-timeout=5m",
    "--db-pool-size=5",
];

/// Locks a row until the returned connection is closed.
async fn lock_row(server: &TestServer, table: &str, id: &str) -> PgConnection {
    let mut locks = PgConnection::connect(&server.database.url).await.unwrap();
    let lock = format!("begin; select 1 from {table} where id = '{id}' for update");
    let lock = raw_sql(AssertSqlSafe(lock)).execute(&mut locks).await;
    lock.unwrap();
    locks
}

/// A project may be locked for a long time.
#[tokio::test]
async fn a_locked_project_does_not_block_changes_of_other_projects() {
    let server = TestServer::start_with(Postgres, &LONG_TIMEOUTS).await;
    let user = server.user().await;
    let (busy, _) = user.project().await;
    let locks = lock_row(&server, "projects", &busy.id).await;
    let mut blocked = JoinSet::new();
    for number in 0..2 {
        let mut projects = user.client.project.clone();
        let request = rename(&busy.id, format!("Stuck {number}"));
        blocked.spawn(async move { projects.update_project(request).await });
    }
    eventually("both calls wait for the lock", async || {
        (server.database.number(LOCK_WAITERS).await == 2).then_some(())
    })
    .await;

    let mut others = JoinSet::new();
    for number in 0..20 {
        let client = user.client.clone();
        others.spawn(async move {
            let request = pb::CreateProjectRequest {
                display_name: "Show".to_owned(),
                ..Default::default()
            };
            let created = client.project.clone().create_project(request).await;
            let project = created.unwrap().into_inner().project.unwrap();
            let request = rename(&project.id, format!("Name {number}"));
            let renamed = client.project.clone().update_project(request).await;
            renamed.unwrap();
        });
    }
    others.join_all().await;

    assert!(blocked.try_join_next().is_none());
    locks.close().await.unwrap();
    for renamed in blocked.join_all().await {
        renamed.unwrap();
    }
    assert_eq!(get_project(&user, &busy).await.revision, busy.revision + 2);
}

/// An account may be locked for a long time, for example while it is deleted.
#[tokio::test]
async fn creates_in_a_locked_account_do_not_block_other_accounts() {
    let server = TestServer::start_with(Postgres, &LONG_TIMEOUTS).await;
    let (ada, bob) = (server.user().await, server.user().await);
    let locks = lock_row(&server, "organizations", &ada.user.id).await;
    let create = |user: &User| {
        let mut projects = user.client.project.clone();
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            ..Default::default()
        };
        async move { projects.create_project(request).await }
    };

    let mut blocked: JoinSet<_> = (0..2).map(|_| create(&ada)).collect();
    eventually("both calls wait for the lock", async || {
        (server.database.number(LOCK_WAITERS).await == 2).then_some(())
    })
    .await;
    blocked.spawn(create(&ada));
    let others: JoinSet<_> = (0..10).map(|_| create(&bob)).collect();
    for created in others.join_all().await {
        created.unwrap();
    }

    assert!(blocked.try_join_next().is_none());
    locks.close().await.unwrap();
    for created in blocked.join_all().await {
        created.unwrap();
    }
}
