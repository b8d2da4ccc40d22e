//! Which calls wait for a locked row, and which do not: on PostgreSQL.

use sluice::proto::v1 as pb;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tokio::task::JoinSet;

use super::{
    given::project_now,
    many_at_once::{WAITING, rename},
};
use crate::harness::{Postgres, TestServer, User, eventually};

/// A call that waits for a lock waits until the test is over, with one connection of the pool.
const PATIENT: [&str; 3] = [
    "--caller-burst=100000",
    "--db-timeout=5m",
    "--db-pool-size=5",
];

/// Locks a row until the connection is closed.
async fn locked(server: &TestServer, table: &str, id: &str) -> PgConnection {
    let mut locks = PgConnection::connect(&server.database.url).await.unwrap();
    let lock = format!("begin; select 1 from {table} where id = '{id}' for update");
    let lock = raw_sql(AssertSqlSafe(lock)).execute(&mut locks).await;
    lock.unwrap();
    locks
}

/// A project may be locked for long; with PostgreSQL that concerns nobody else.
#[tokio::test]
async fn who_waits_for_one_project_holds_up_no_change_of_another() {
    let server = TestServer::start_with(Postgres, &PATIENT).await;
    let user = server.user().await;
    let (busy, _) = user.project().await;
    let locks = locked(&server, "projects", &busy.id).await;
    let mut stuck = JoinSet::new();
    for number in 0..2 {
        let mut projects = user.client.project.clone();
        let request = rename(&busy.id, format!("Stuck {number}"));
        stuck.spawn(async move { projects.update_project(request).await });
    }
    eventually("both wait", async || {
        (server.database.number(WAITING).await == 2).then_some(())
    })
    .await;

    let mut others = JoinSet::new();
    for number in 0..20 {
        let client = user.client.clone();
        others.spawn(async move {
            let request = pb::CreateProjectRequest {
                name: "Show".to_owned(),
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

    assert!(stuck.try_join_next().is_none());
    locks.close().await.unwrap();
    for renamed in stuck.join_all().await {
        renamed.unwrap();
    }
    assert_eq!(project_now(&user, &busy).await.revision, busy.revision + 2);
}

/// An account may be locked for long, for example while it is deleted.
#[tokio::test]
async fn who_creates_while_their_account_is_locked_holds_up_nobody_else() {
    let server = TestServer::start_with(Postgres, &PATIENT).await;
    let (ada, bob) = (server.user().await, server.user().await);
    let locks = locked(&server, "users", &ada.user.id).await;
    let create = |user: &User| {
        let mut projects = user.client.project.clone();
        let request = pb::CreateProjectRequest {
            name: "Show".to_owned(),
            ..Default::default()
        };
        async move { projects.create_project(request).await }
    };

    let mut stuck: JoinSet<_> = (0..2).map(|_| create(&ada)).collect();
    eventually("both wait", async || {
        (server.database.number(WAITING).await == 2).then_some(())
    })
    .await;
    stuck.spawn(create(&ada));
    let others: JoinSet<_> = (0..10).map(|_| create(&bob)).collect();
    for created in others.join_all().await {
        created.unwrap();
    }

    assert!(stuck.try_join_next().is_none());
    locks.close().await.unwrap();
    for created in stuck.join_all().await {
        created.unwrap();
    }
}
