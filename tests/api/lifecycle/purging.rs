use rstest::rstest;
use sluice::proto::v1 as pb;

use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually};

const LONG_AGO: &str = "'2020-01-01T00:00:00+00:00'";

#[rstest]
#[tokio::test]
async fn what_has_ended_long_ago_is_forgotten_and_nothing_else(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let request = pb::CreateProjectRequest {
        name: "Show".to_owned(),
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        ..Default::default()
    };
    let (deleted, _) = ada.project_with(request).await;
    let (kept, _) = ada.project().await;
    let request = pb::DeleteProjectRequest {
        project_id: deleted.id,
        force: false,
    };
    ada.client
        .project
        .clone()
        .delete_project(request)
        .await
        .unwrap();
    let request = pb::SignOutRequest::default();
    ben.client.auth.clone().sign_out(request).await.unwrap();

    for aged in [
        format!("update projects set delete_time = {LONG_AGO} where delete_time is not null"),
        format!("update sessions set revoke_time = {LONG_AGO} where revoke_time is not null"),
        format!("update idempotent_creates set create_time = {LONG_AGO}"),
    ] {
        server.database.execute(&aged).await;
    }
    // The purge looks when the server starts.
    let server = server.restart().await;

    for (table, left) in [("projects", 1), ("sessions", 1), ("idempotent_creates", 0)] {
        let count = format!("select count(*) from {table}");
        eventually("what has ended is forgotten", async || {
            (server.database.number(&count).await == left).then_some(())
        })
        .await;
    }
    let mut ada = Client::with_token(&server.channel, &ada.tokens.access_token);
    let request = pb::GetProjectRequest {
        project_id: kept.id,
    };
    ada.project.get_project(request).await.unwrap();
}
