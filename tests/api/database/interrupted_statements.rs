//! Statements of SQLite that take too long.

use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::time::Instant;
use tonic::{Code, Response, Status};

use crate::harness::{Sqlite, TestServer, User, eventually, refused};

/// Makes SQLite work for hours on each insert of a project with the name `slow`.
async fn slow_down(server: &TestServer) {
    let trigger = "create trigger slow before insert on projects when new.name = 'slow'
                   begin
                       select count(*)
                       from sqlite_schema a, sqlite_schema b, sqlite_schema c, sqlite_schema d,
                            sqlite_schema e, sqlite_schema f, sqlite_schema g
                       where a.name || b.name || c.name || d.name || e.name || f.name || g.name
                             = 'x';
                   end";
    server.database.execute(trigger).await;
}

async fn create(user: &User, name: &str) -> Result<Response<pb::CreateProjectResponse>, Status> {
    let request = pb::CreateProjectRequest {
        display_name: name.to_owned(),
        ..Default::default()
    };
    user.client.project.clone().create_project(request).await
}

#[tokio::test]
async fn others_write_as_soon_as_a_statement_has_timed_out() {
    let settings = ["--db-timeout=1s", "--db-acquire-timeout=5s"];
    let server = TestServer::start_with(Sqlite, &settings).await;
    let (ada, grace) = (server.user().await, server.user().await);
    slow_down(&server).await;

    let refusal = refused(create(&ada, "slow").await);
    let timed_out = Instant::now();

    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    create(&grace, "quick").await.unwrap();
    assert!(
        timed_out.elapsed() < Duration::from_secs(20),
        "{:?}",
        timed_out.elapsed()
    );
    let projects = server
        .database
        .number("select count(*) from projects")
        .await;
    assert_eq!(projects, 1);
}

#[tokio::test]
async fn others_write_as_soon_as_a_statement_whose_caller_has_gone_away_has_timed_out() {
    let settings = ["--db-timeout=1s", "--db-acquire-timeout=5s"];
    let server = TestServer::start_with(Sqlite, &settings).await;
    let (ada, grace) = (server.user().await, server.user().await);
    slow_down(&server).await;

    let mut request = tonic::Request::new(pb::CreateProjectRequest {
        display_name: "slow".to_owned(),
        ..Default::default()
    });
    request.set_timeout(Duration::from_millis(300));
    let refusal = ada.client.project.clone().create_project(request).await;
    assert!(refusal.is_err());
    let gone = Instant::now();

    eventually("others write", async || create(&grace, "quick").await.ok()).await;
    assert!(
        gone.elapsed() < Duration::from_secs(20),
        "{:?}",
        gone.elapsed()
    );
}
