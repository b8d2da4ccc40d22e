use sluice::proto::v1 as pb;
use sqlx::Connection;
use sqlx_postgres::PgConnection;
use tokio::task::JoinSet;

use crate::harness::{Postgres, TestServer, eventually};

#[tokio::test]
async fn cancelled_calls_release_their_database_connections() {
    let server = TestServer::start_with(Postgres, &["--db-acquire-timeout=4s"]).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let mut other = PgConnection::connect(&server.database.url).await.unwrap();
    let hold = "begin; lock table projects in access exclusive mode";
    sqlx::raw_sql(hold).execute(&mut other).await.unwrap();

    let mut calls = JoinSet::new();
    // Further reads of the same kind join the running batch and take no connection.
    for _ in 0..2 {
        let request = pb::GetProjectRequest {
            project_id: project.id.clone(),
            ..Default::default()
        };
        let mut client = ada.client.project.clone();
        calls.spawn(async move { client.get_project(request).await.map(drop) });
    }
    let mut client = ada.client.project.clone();
    let all = pb::ListProjectsRequest::default();
    calls.spawn(async move { client.list_projects(all).await.map(drop) });
    eventually("every connection waits", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        (server.database.number(waiting).await >= 3).then_some(())
    })
    .await;
    calls.shutdown().await;

    let mut auth = ada.client.auth.clone();
    auth.get_me(pb::GetMeRequest {}).await.unwrap();
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    let request = pb::GetProjectRequest {
        project_id: project.id,
        ..Default::default()
    };
    let mut client = ada.client.project.clone();
    client.get_project(request).await.unwrap();
}
