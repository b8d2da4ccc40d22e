use rstest::rstest;
use sluice::proto::v1 as pb;

use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually};

const LONG_AGO: &str = "'2020-01-01T00:00:00+00:00'";

#[rstest]
#[tokio::test]
async fn only_rows_past_their_retention_are_purged(#[values(Sqlite, Postgres)] engine: Engine) {
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

    let (_, stream_key) = ada.project().await;
    let node = server.media_server().await;
    for connection in ["old", "new"] {
        let stream = node.live(&stream_key, connection).await;
        node.begin(&stream_key, "refused").await.unwrap_err();
        node.end(&stream, connection).await;
    }
    let boots = "insert into node_boots (node_id, boot_id, create_time)";

    for aged in [
        format!("{boots} values ('n1', 'b0', {LONG_AGO}), ('n2', 'b0', {LONG_AGO})"),
        format!("update publishes set create_time = {LONG_AGO} where connection_id = 'old'"),
        format!(
            "update refusals set create_time = {LONG_AGO} where id = (
                 select id from refusals order by id limit 1)"
        ),
        format!("update projects set delete_time = {LONG_AGO} where delete_time is not null"),
        format!("update sessions set revoke_time = {LONG_AGO} where revoke_time is not null"),
        format!("update idempotent_creates set create_time = {LONG_AGO}"),
    ] {
        server.database.execute(&aged).await;
    }
    // The purge runs when the server starts.
    let server = server.restart().await;

    // The last boot of a node is kept, to recognise reports of earlier boots.
    for (table, left) in [
        ("projects", 2),
        ("sessions", 1),
        ("idempotent_creates", 0),
        ("publishes", 1),
        ("node_boots", 2),
        ("refusals", 1),
    ] {
        let count = format!("select count(*) from {table}");
        eventually("expired rows are purged", async || {
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
