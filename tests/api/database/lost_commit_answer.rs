use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Postgres, Proxy, TestDatabase, TestServer, refused};

#[tokio::test]
async fn a_write_with_a_lost_commit_answer_is_unavailable_and_applied_once_when_repeated() {
    let (database, proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
    // Only the call commits: background jobs are idle, and the sign-up message is sent.
    let server = TestServer::start_on(database, &["--reap-interval=1min"]).await;
    let mut ada = server.user().await.client;
    server.database.wait_for_empty_outbox().await;
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };

    proxy.drop_response_to(b"Q\0\0\0\x0bcommit\0");
    let refusal = refused(ada.project.create_project(request.clone()).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    let made = "select count(*) from projects";
    assert_eq!(server.database.number(made).await, 1);

    let first = ada.project.create_project(request.clone()).await.unwrap();
    let second = ada.project.create_project(request).await.unwrap();
    assert_eq!(first.into_inner(), second.into_inner());
    assert_eq!(server.database.number(made).await, 1);
}
