use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Postgres, Proxy, TestDatabase, TestServer, refused};

#[tokio::test]
async fn a_write_with_a_lost_commit_answer_is_unavailable_and_applied_once_when_repeated() {
    let (database, proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
    let server = TestServer::start_on(database, &[]).await;
    let mut ada = server.user().await.client;
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };

    // Jobs commit too; only the call inserts a project.
    proxy.drop_response_after(b"insert into projects", b"Q\0\0\0\x0bcommit\0");
    let refusal = refused(ada.project.create_project(request.clone()).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    let made = "select count(*) from projects";
    assert_eq!(server.database.number(made).await, 1);

    let first = ada.project.create_project(request.clone()).await.unwrap();
    let second = ada.project.create_project(request).await.unwrap();
    assert_eq!(first.into_inner(), second.into_inner());
    assert_eq!(server.database.number(made).await, 1);
}
