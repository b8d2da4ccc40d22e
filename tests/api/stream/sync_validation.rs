//! SyncNode: validation.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    fixture::Fixture,
    node_reports::{assert_no_action, minimal_connection, sync_request},
};
use crate::harness::{Engine, Postgres, Sqlite};

const STREAM: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Every field is invalid.
fn wrong() -> pb::NodeConnection {
    pb::NodeConnection {
        connection_id: "a b".to_owned(),
        stream_id: "42".to_owned(),
        epoch: 0,
        stats: Some(pb::StreamStats {
            bytes_received: -1,
            bitrate_bps: -1,
            width: -1,
            height: -1,
            fps: f64::NAN,
            video_codec: "v".repeat(33),
            audio_codec: "a".repeat(33),
            ..Default::default()
        }),
        stream_key: "k".repeat(256),
        peer_address: "localhost".to_owned(),
        protocol: 99,
        play_url: format!("rtmp://10.0.0.5/{}", "p".repeat(1024)),
    }
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let fixture = Fixture::start(Sqlite).await;
    let request = pb::SyncNodeRequest {
        node_id: String::new(),
        boot_id: "bööt".to_owned(),
        connections: vec![minimal_connection("fine"), wrong()],
    };

    let refusal = fixture.sync_refusal(request).await;

    let all = [
        "boot_id",
        "connections[1].connection_id",
        "connections[1].epoch",
        "connections[1].peer_address",
        "connections[1].play_url",
        "connections[1].protocol",
        "connections[1].stats.audio_codec",
        "connections[1].stats.bitrate_bps",
        "connections[1].stats.bytes_received",
        "connections[1].stats.fps",
        "connections[1].stats.height",
        "connections[1].stats.video_codec",
        "connections[1].stats.width",
        "connections[1].stream_id",
        "connections[1].stream_key",
        "node_id",
    ];
    assert_eq!(refusal.fields(), all);
    assert!(!format!("{refusal:?}").contains(&"k".repeat(256)));
    let boots = "select count(*) from node_boots";
    assert_eq!(fixture.server.database.number(boots).await, 0);
}

#[tokio::test]
async fn an_epoch_is_required_with_a_stream_id_and_forbidden_without() {
    let fixture = Fixture::start(Sqlite).await;

    for (stream_id, epoch) in [("", 1), ("", -1), (STREAM, 0), (STREAM, -1)] {
        let connection = pb::NodeConnection {
            stream_id: stream_id.to_owned(),
            epoch,
            ..minimal_connection("a")
        };
        let refusal = fixture
            .sync_refusal(sync_request("b1", &[connection]))
            .await;
        assert_eq!(refusal.fields(), ["connections[0].epoch"], "{epoch}");
    }
}

#[tokio::test]
async fn a_connection_may_be_reported_only_once() {
    let fixture = Fixture::start(Sqlite).await;
    let connections = [
        minimal_connection("a"),
        minimal_connection("A"),
        minimal_connection("b"),
        minimal_connection("a"),
    ];

    let refusal = fixture.sync_refusal(sync_request("b1", &connections)).await;

    assert_eq!(refusal.fields(), ["connections[3].connection_id"]);
}

#[rstest]
#[tokio::test]
async fn a_report_has_at_most_five_thousand_connections(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut connections: Vec<_> = (0..5000)
        .map(|number| pb::NodeConnection {
            play_url: format!("rtmp://10.0.0.5/live/{}", "x".repeat(200)),
            ..minimal_connection(&number.to_string())
        })
        .collect();

    let answer = fixture.sync("b1", &connections).await;
    assert_eq!(answer.kicks.len(), 5000, "nothing is known of them");
    connections.push(minimal_connection("one more"));
    let refusal = fixture.sync_refusal(sync_request("b1", &connections)).await;

    assert_eq!(refusal.fields(), ["connections"]);
    assert_no_action(&fixture.sync("b1", &[]).await);
}

/// All of them would not fit into the response.
#[tokio::test]
async fn only_the_first_of_very_many_invalid_fields_are_named() {
    let fixture = Fixture::start(Sqlite).await;
    let connections = vec![wrong(); 1000];

    let refusal = fixture.sync_refusal(sync_request("b1", &connections)).await;

    let fields = refusal.fields();
    assert!((50..70).contains(&fields.len()), "{fields:?}");
    assert_eq!(fields[0], "connections[0].connection_id");
}
