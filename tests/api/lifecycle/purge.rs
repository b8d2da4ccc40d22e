use rstest::rstest;
use sluice::proto::v1 as pb;

use crate::{
    harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually},
    usage::fixture::{HOURS, plant_record},
};

const LONG_AGO: &str = "'2020-01-01T00:00:00+00:00'";

#[rstest]
#[tokio::test]
async fn only_rows_past_their_retention_are_purged(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        ..Default::default()
    };
    let (deleted, _) = ada.project_with(request).await;
    let (kept, _) = ada.project().await;
    let request = pb::DeleteProjectRequest {
        project_id: deleted.id,
        force: false,
        ..Default::default()
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
    for hour in ["2020-01-01T00:00:00+00:00", HOURS[0]] {
        plant_record(&server.database, &ada.user.id, &kept.id, None, hour).await;
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
        (
            "usage_records where hour_time > '2099-01-01T00:00:00+00:00'",
            1,
        ),
        (
            "usage_records where hour_time < '2021-01-01T00:00:00+00:00'",
            0,
        ),
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
        ..Default::default()
    };
    ada.project.get_project(request).await.unwrap();
}

/// The number of rows of a table becomes `left`.
async fn is_left_with(server: &TestServer, table: &str, left: i64) {
    let count = format!("select count(*) from {table}");
    eventually("rows are purged", async || {
        (server.database.number(&count).await == left).then_some(())
    })
    .await;
}

#[rstest]
#[case("--stream-retention=90days", 2, 1)]
#[case("--stream-retention=0s", 3, 2)]
#[tokio::test]
async fn ended_streams_and_their_relays_are_purged_after_their_retention(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] retention: &str,
    #[case] streams: i64,
    #[case] relays: i64,
) {
    let server = TestServer::start_with(engine, &[retention]).await;
    let (ada, node) = (server.user().await, server.media_server().await);
    let (project, stream_key) = ada.project().await;
    let request = pb::CreateDestinationRequest {
        project_id: project.id.clone(),
        platform: pb::Platform::Twitch.into(),
        display_name: "Twitch".to_owned(),
        stream_key: "live_1_2".to_owned(),
        ..Default::default()
    };
    let mut client = ada.client.project.clone();
    client.create_destination(request).await.unwrap();
    for connection in ["old", "recent"] {
        let stream = node.live(&stream_key, connection).await;
        let request = pb::StopStreamRequest {
            stream_id: stream.id,
            ..Default::default()
        };
        ada.client
            .stream
            .clone()
            .stop_stream(request)
            .await
            .unwrap();
    }
    let (_, other_key) = ada.project().await;
    node.live(&other_key, "live").await;

    // The live stream has run for longer than the retention.
    for aged in [
        format!("update streams set create_time = {LONG_AGO}, live_time = {LONG_AGO}"),
        format!("update streams set end_time = {LONG_AGO} where connection_id = 'old'"),
        format!("update publishes set create_time = {LONG_AGO} where connection_id = 'old'"),
    ] {
        server.database.execute(&aged).await;
    }
    let server = server.restart().await;

    // Purged after the streams.
    is_left_with(&server, "publishes", 2).await;
    is_left_with(&server, "streams", streams).await;
    is_left_with(&server, "relays", relays).await;
    let live = "select count(*) from streams where end_time is null";
    assert_eq!(server.database.number(live).await, 1);
}

/// Otherwise its relays would be deleted in one statement, however many streams it had.
#[rstest]
#[tokio::test]
async fn a_deleted_destination_disappears_at_once_and_its_rows_soon(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, node) = (server.user().await, server.media_server().await);
    let (project, stream_key) = ada.project().await;
    let request = pb::CreateDestinationRequest {
        project_id: project.id.clone(),
        platform: pb::Platform::Twitch.into(),
        display_name: "Twitch".to_owned(),
        stream_key: "live_1_2".to_owned(),
        ..Default::default()
    };
    let mut client = ada.client.project.clone();
    let created = client
        .create_destination(request)
        .await
        .unwrap()
        .into_inner();
    let stream = node.live(&stream_key, "c1").await;
    let list = pb::ListRelaysRequest {
        stream_id: stream.id.clone(),
        ..Default::default()
    };
    let mut streams = ada.client.stream.clone();
    let relays = streams
        .list_relays(list.clone())
        .await
        .unwrap()
        .into_inner()
        .relays;
    assert_eq!(relays.len(), 1);
    let request = pb::StopStreamRequest {
        stream_id: stream.id,
        ..Default::default()
    };
    streams.stop_stream(request).await.unwrap();

    let request = pb::DeleteDestinationRequest {
        destination_id: created.destination.unwrap().id,
        ..Default::default()
    };
    client.delete_destination(request).await.unwrap();

    let relays = streams.list_relays(list).await.unwrap().into_inner().relays;
    assert_eq!(relays, []);
    let request = pb::ListDestinationsRequest {
        project_id: project.id,
        ..Default::default()
    };
    let left = client
        .list_destinations(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(left.destinations, []);
    is_left_with(&server, "relays", 0).await;
    is_left_with(&server, "destinations", 0).await;
}

/// For example a row that another session has locked, or whose index is damaged.
#[rstest]
#[tokio::test]
async fn a_row_that_cannot_be_deleted_does_not_keep_the_others(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, node) = (server.user().await, server.media_server().await);
    let (_, stream_key) = ada.project().await;
    for connection in ["kept", "c1", "c2", "c3"] {
        let stream = node.live(&stream_key, connection).await;
        let request = pb::StopStreamRequest {
            stream_id: stream.id,
            ..Default::default()
        };
        ada.client
            .stream
            .clone()
            .stop_stream(request)
            .await
            .unwrap();
    }
    let database = &server.database;
    database.keep_rows("streams", "connection_id", "kept").await;
    let aged = format!("update streams set end_time = {LONG_AGO}");
    server.database.execute(&aged).await;

    let server = server.restart().await;

    is_left_with(&server, "streams", 1).await;
}
