//! SyncNode: what it refuses.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    node::{agrees, bare, report},
    scene::Scene,
};
use crate::harness::{Engine, Postgres, Sqlite};

const STREAM: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Every field of it is wrong.
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
        }),
        stream_key: "k".repeat(256),
        peer_address: "localhost".to_owned(),
        protocol: 99,
        play_url: format!("rtmp://10.0.0.5/{}", "p".repeat(1024)),
    }
}

#[rstest]
#[tokio::test]
async fn every_wrong_field_is_named(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let request = pb::SyncNodeRequest {
        node_id: String::new(),
        boot_id: "bööt".to_owned(),
        connections: vec![bare("fine"), wrong()],
    };

    let refusal = scene.sync_refusal(request).await;

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
    assert_eq!(scene.server.database.number(boots).await, 0);
}

#[rstest]
#[tokio::test]
async fn an_epoch_comes_with_its_stream_and_not_without(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;

    for (stream_id, epoch) in [("", 1), ("", -1), (STREAM, 0), (STREAM, -1)] {
        let connection = pb::NodeConnection {
            stream_id: stream_id.to_owned(),
            epoch,
            ..bare("a")
        };
        let refusal = scene.sync_refusal(report("b1", &[connection])).await;
        assert_eq!(refusal.fields(), ["connections[0].epoch"], "{epoch}");
    }
}

#[rstest]
#[tokio::test]
async fn a_connection_is_reported_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let connections = [bare("a"), bare("A"), bare("b"), bare("a")];

    let refusal = scene.sync_refusal(report("b1", &connections)).await;

    assert_eq!(refusal.fields(), ["connections[3].connection_id"]);
}

#[rstest]
#[tokio::test]
async fn five_thousand_connections_are_reported_and_no_more(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut connections: Vec<_> = (0..5000)
        .map(|number| pb::NodeConnection {
            play_url: format!("rtmp://10.0.0.5/live/{}", "x".repeat(200)),
            ..bare(&number.to_string())
        })
        .collect();

    let answer = scene.sync("b1", &connections).await;
    assert_eq!(answer.kicks.len(), 5000, "nothing is known of them");
    connections.push(bare("one more"));
    let refusal = scene.sync_refusal(report("b1", &connections)).await;

    assert_eq!(refusal.fields(), ["connections"]);
    agrees(&scene.sync("b1", &[]).await);
}

/// All of them would not fit into the answer.
#[rstest]
#[tokio::test]
async fn of_very_many_faults_the_first_are_named(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let connections = vec![wrong(); 1000];

    let refusal = scene.sync_refusal(report("b1", &connections)).await;

    let fields = refusal.fields();
    assert!((50..70).contains(&fields.len()), "{fields:?}");
    assert_eq!(fields[0], "connections[0].connection_id");
}
