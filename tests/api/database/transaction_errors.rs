use sluice::proto::v1 as pb;
use sqlx::{AssertSqlSafe, Connection, Row};
use sqlx_postgres::PgConnection;
use tonic::Code;

use crate::harness::{Postgres, TestDatabase, TestServer, User, eventually, refused};

/// Makes the next `times` updates of projects fail with an SQLSTATE.
async fn fail_updates_with(server: &TestServer, state: &str, times: u32) {
    let sql = format!(
        "create sequence losses;
         create function lose() returns trigger language plpgsql as $$
         begin
             if nextval('losses') <= {times} then
                 raise exception 'lost' using errcode = '{state}';
             end if;
             return new;
         end $$;
         create trigger lose before update on projects
         for each row execute function lose();"
    );
    server.database.execute(&sql).await;
}

async fn rename(
    user: &User,
    id: &str,
) -> Result<tonic::Response<pb::UpdateProjectResponse>, tonic::Status> {
    let request = pb::UpdateProjectRequest {
        project_id: id.to_owned(),
        display_name: Some("Another show".to_owned()),
        ..Default::default()
    };
    user.client.project.clone().update_project(request).await
}

#[tokio::test]
async fn a_transaction_with_a_serialization_failure_is_retried() {
    let server = TestServer::start(Postgres).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    fail_updates_with(&server, "40001", 4).await;

    let renamed = rename(&ada, &project.id).await.unwrap().into_inner();

    assert_eq!(renamed.project.unwrap().display_name, "Another show");
    let events = "select count(*) from events";
    assert_eq!(server.database.number(events).await, 2, "each once");
}

#[tokio::test]
async fn a_transaction_that_never_serializes_is_aborted() {
    let server = TestServer::start(Postgres).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    fail_updates_with(&server, "40001", 1000).await;

    let refusal = refused(rename(&ada, &project.id).await);

    assert_eq!(refusal.class(), (Code::Aborted, "CONCURRENT_CHANGE"));
    let tries = "select last_value from losses";
    assert_eq!(server.database.number(tries).await, 5);
}

#[tokio::test]
async fn a_transaction_with_a_deadlock_is_retried() {
    let database = TestDatabase::create(Postgres).await;
    // Long enough to create the deadlock before PostgreSQL checks for it, and shorter than the lock
    // timeout.
    let later = "do $$ begin
                     execute format('alter database %I set deadlock_timeout = ''3s''',
                                    current_database());
                 end $$";
    database.execute(later).await;
    let limits = ["--db-timeout=30s", "--call-timeout=1min"];
    let server = TestServer::start_on(database, &limits).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let mut other = PgConnection::connect(&server.database.url).await.unwrap();
    // PostgreSQL aborts the session that reaches its deadlock_timeout first: the server's.
    let begin = "set deadlock_timeout = '60s'; begin; lock table audit_events in exclusive mode";
    sqlx::raw_sql(begin).execute(&mut other).await.unwrap();

    let renaming = tokio::spawn({
        let id = project.id.clone();
        async move { rename(&ada, &id).await.map(|answer| answer.into_inner()) }
    });
    let mut looking = PgConnection::connect(&server.database.url).await.unwrap();
    eventually(
        "it has the project and waits for the audit log",
        async || {
            let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'
                           and query like 'insert into audit_events%'";
            let waiting = sqlx::query(waiting).fetch_one(&mut looking).await.unwrap();
            (waiting.get::<i64, _>(0) == 1).then_some(())
        },
    )
    .await;
    let conflicting_update = format!(
        "update projects set disabled = false where id = '{}'",
        project.id
    );
    let conflicting_update = sqlx::raw_sql(AssertSqlSafe(conflicting_update));
    conflicting_update.execute(&mut other).await.unwrap();
    sqlx::raw_sql("commit").execute(&mut other).await.unwrap();

    let renamed = renaming.await.unwrap().unwrap();
    assert_eq!(renamed.project.unwrap().display_name, "Another show");
}

#[tokio::test]
async fn postgres_errors_are_mapped_to_status_codes() {
    let server = TestServer::start(Postgres).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let unavailable = (Code::Unavailable, "DATABASE_UNAVAILABLE");
    let aborted = (Code::Aborted, "CONCURRENT_CHANGE");
    let expected = [
        ("57P01", unavailable),
        ("57P02", unavailable),
        ("57P03", unavailable),
        ("08006", unavailable),
        ("53300", unavailable),
        ("25006", unavailable),
        ("57014", (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")),
        ("55P03", unavailable),
        ("40P01", aborted),
        ("53100", (Code::ResourceExhausted, "STORAGE_FULL")),
        ("XX001", (Code::Internal, "INTERNAL")),
    ];
    for (state, class) in expected {
        fail_updates_with(&server, state, 1000).await;
        let refusal = refused(rename(&ada, &project.id).await);
        assert_eq!(refusal.class(), class, "{state}");
        let undo = "drop trigger lose on projects; drop function lose; drop sequence losses";
        server.database.execute(undo).await;
        rename(&ada, &project.id).await.unwrap();
    }
}
