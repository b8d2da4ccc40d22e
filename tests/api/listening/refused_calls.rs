use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn any_number_of_refused_calls_on_a_connection_is_refused_with_the_reason(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--address-rate=0"]).await;
    let client = server.anonymous();

    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let mut auth = client.auth.clone();
        callers.spawn(async move {
            for _ in 0..400 {
                let refusal = refused(auth.get_me(pb::GetMeRequest {}).await);
                let class = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
                assert_eq!(refusal.class(), class);
            }
        });
    }

    callers.join_all().await;
}

#[rstest]
#[tokio::test]
async fn a_refused_call_with_a_long_message_is_refused_with_the_reason(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--address-rate=0"]).await;

    for length in [10, 60_000, 1_000_000] {
        let request = pb::CreateProjectRequest {
            name: "x".repeat(length),
            ..Default::default()
        };
        let mut project = server.anonymous().project;
        let refusal = refused(project.create_project(request).await);
        let class = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
        assert_eq!(refusal.class(), class, "{length}");
    }
}
