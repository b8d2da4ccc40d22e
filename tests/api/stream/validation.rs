use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{Fixture, seconds};
use crate::harness::{Engine, MediaServer, Postgres, Refusal, Sqlite, refused};

const STREAM: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const UNKNOWN: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

/// Every field is invalid.
fn wrong_publisher() -> pb::Publisher {
    pb::Publisher {
        node_id: "n".repeat(129),
        boot_id: "bööt".to_owned(),
        connection_id: String::new(),
        peer_address: "203.0.113.5:1935".to_owned(),
        protocol: 99,
    }
}

fn wrong_stats() -> pb::StreamStats {
    pb::StreamStats {
        bytes_received: -1,
        bitrate_bps: i64::MIN,
        width: -1,
        height: i32::MIN,
        fps: f64::NAN,
        video_codec: "v".repeat(33),
        audio_codec: "aac\0".to_owned(),
        ..Default::default()
    }
}

impl Fixture {
    async fn begin_refusal(&self, stream_key: &str, publisher: Option<pb::Publisher>) -> Refusal {
        let request = pb::BeginPublishRequest {
            stream_key: stream_key.to_owned(),
            publisher,
            media_flowing: true,
            play_url: String::new(),
        };
        refused(self.node.client.stream.clone().begin_publish(request).await)
    }

    async fn heartbeat_refusal(&self, stats: pb::StreamStats) -> Refusal {
        let request = pb::HeartbeatPublishRequest {
            stream_id: STREAM.to_owned(),
            epoch: 1,
            publisher: Some(MediaServer::connection("a")),
            stats: Some(stats),
        };
        let mut client = self.node.client.stream.clone();
        refused(client.heartbeat_publish(request).await)
    }

    async fn stop_refusal(&self, stream_id: &str, hold: prost_types::Duration) -> Refusal {
        let request = pb::StopStreamRequest {
            stream_id: stream_id.to_owned(),
            hold: Some(hold),
            ..Default::default()
        };
        refused(self.owner.client.stream.clone().stop_stream(request).await)
    }

    async fn list_refusal(&self, request: pb::ListStreamsRequest) -> Refusal {
        refused(self.owner.client.stream.clone().list_streams(request).await)
    }
}

#[tokio::test]
async fn begin_publish_names_every_invalid_field() {
    let fixture = Fixture::start(Sqlite).await;

    let refusal = fixture.begin_refusal("", Some(wrong_publisher())).await;
    let all = [
        "publisher.boot_id",
        "publisher.connection_id",
        "publisher.node_id",
        "publisher.peer_address",
        "publisher.protocol",
        "stream_key",
    ];
    assert_eq!(refusal.fields(), all);

    let blank = fixture.begin_refusal(" \u{200b}\n", Some(MediaServer::connection("a")));
    assert_eq!(blank.await.fields(), ["stream_key"]);

    let too_long = "k".repeat(256);
    let refusal = fixture.begin_refusal(&too_long, None).await;
    let absent = [
        "publisher.boot_id",
        "publisher.connection_id",
        "publisher.node_id",
        "stream_key",
    ];
    assert_eq!(refusal.fields(), absent);
    assert!(!format!("{refusal:?}").contains(&too_long));
    assert_eq!(fixture.count_unended().await, 0);
}

#[tokio::test]
async fn ids_of_a_publisher_must_be_visible_ascii() {
    let fixture = Fixture::start(Sqlite).await;

    for wrong in [
        "",
        " ",
        "a b",
        "a\n",
        "a\0",
        "\u{7f}",
        "é",
        &"x".repeat(129),
    ] {
        let publisher = pb::Publisher {
            node_id: wrong.to_owned(),
            boot_id: wrong.to_owned(),
            connection_id: wrong.to_owned(),
            ..MediaServer::connection("a")
        };
        let refusal = fixture.begin_refusal(&fixture.key, Some(publisher)).await;
        let ids = [
            "publisher.boot_id",
            "publisher.connection_id",
            "publisher.node_id",
        ];
        assert_eq!(refusal.fields(), ids, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_peer_address_must_be_a_bare_ip_address() {
    let fixture = Fixture::start(Sqlite).await;

    for wrong in [
        "localhost",
        "1.2.3",
        "1.2.3.4.",
        " 1.2.3.4",
        "[::1]",
        "[::1]:80",
        "1.2.3.0/24",
    ] {
        let publisher = pb::Publisher {
            peer_address: wrong.to_owned(),
            ..MediaServer::connection("a")
        };
        let refusal = fixture.begin_refusal(&fixture.key, Some(publisher)).await;
        assert_eq!(refusal.fields(), ["publisher.peer_address"], "{wrong}");
    }
    for protocol in [-1, 6] {
        let publisher = pb::Publisher {
            protocol,
            ..MediaServer::connection("a")
        };
        let refusal = fixture.begin_refusal(&fixture.key, Some(publisher)).await;
        assert_eq!(refusal.fields(), ["publisher.protocol"], "{protocol}");
    }
}

#[tokio::test]
async fn heartbeat_publish_names_every_invalid_field() {
    let fixture = Fixture::start(Sqlite).await;
    let request = pb::HeartbeatPublishRequest {
        stream_id: "42".to_owned(),
        epoch: 0,
        publisher: Some(wrong_publisher()),
        stats: Some(wrong_stats()),
    };

    let mut client = fixture.node.client.stream.clone();
    let refusal = refused(client.heartbeat_publish(request).await);

    let all = [
        "epoch",
        "publisher.boot_id",
        "publisher.connection_id",
        "publisher.node_id",
        "publisher.peer_address",
        "publisher.protocol",
        "stats.audio_codec",
        "stats.bitrate_bps",
        "stats.bytes_received",
        "stats.fps",
        "stats.height",
        "stats.video_codec",
        "stats.width",
        "stream_id",
    ];
    assert_eq!(refusal.fields(), all);
}

#[rstest]
#[tokio::test]
async fn frames_per_second_must_be_a_finite_number(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;

    for fps in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
        let stats = pb::StreamStats {
            fps,
            ..Default::default()
        };
        let refusal = fixture.heartbeat_refusal(stats).await;
        assert_eq!(refusal.fields(), ["stats.fps"], "{fps}");
    }
    let largest = pb::StreamStats {
        bytes_received: i64::MAX,
        bitrate_bps: i64::MAX,
        width: i32::MAX,
        height: i32::MAX,
        fps: f64::MAX,
        video_codec: "v".repeat(32),
        audio_codec: "a".repeat(32),
        ..Default::default()
    };
    let refusal = fixture.heartbeat_refusal(largest).await;
    assert_eq!(refusal.class(), UNKNOWN, "nothing of it is wrong");
}

#[tokio::test]
async fn end_publish_names_every_invalid_field() {
    let fixture = Fixture::start(Sqlite).await;
    let request = pb::EndPublishRequest {
        stream_id: String::new(),
        epoch: -1,
        publisher: Some(wrong_publisher()),
    };

    let mut client = fixture.node.client.stream.clone();
    let refusal = refused(client.end_publish(request).await);

    let all = [
        "epoch",
        "publisher.boot_id",
        "publisher.connection_id",
        "publisher.node_id",
        "publisher.peer_address",
        "publisher.protocol",
        "stream_id",
    ];
    assert_eq!(refusal.fields(), all);
}

#[tokio::test]
async fn get_stream_refuses_a_malformed_id() {
    let fixture = Fixture::start(Sqlite).await;
    let bare = STREAM.replace('-', "");
    let braced = format!("{{{STREAM}}}");

    for wrong in ["", "42", &*bare, &*braced, " ", "0"] {
        let request = pb::GetStreamRequest {
            stream_id: wrong.to_owned(),
        };
        let answer = fixture
            .owner
            .client
            .stream
            .clone()
            .get_stream(request)
            .await;
        assert_eq!(refused(answer).fields(), ["stream_id"], "{wrong}");
    }
}

#[tokio::test]
async fn list_streams_names_every_invalid_field() {
    let fixture = Fixture::start(Sqlite).await;

    for state in [pb::StreamState::Unspecified.into(), 5, -1] {
        let request = pb::ListStreamsRequest {
            project_id: "42".to_owned(),
            state: Some(state),
            page_size: -1,
            page_token: "forged".to_owned(),
            ..Default::default()
        };
        let refusal = fixture.list_refusal(request).await;
        let all = ["page_size", "page_token", "project_id", "state"];
        assert_eq!(refusal.fields(), all, "{state}");
    }
}

#[rstest]
#[tokio::test]
async fn stop_stream_names_every_invalid_field(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let day = 24 * 60 * 60;

    for (seconds, nanos) in [(-1, 0), (0, -1), (day, 1), (day + 1, 0), (0, 1_000_000_000)] {
        let hold = prost_types::Duration { seconds, nanos };
        let refusal = fixture.stop_refusal("42", hold).await;
        assert_eq!(refusal.fields(), ["hold", "stream_id"], "{hold:?}");
    }
    for hold in [seconds(0), seconds(day)] {
        let refusal = fixture.stop_refusal(STREAM, hold).await;
        assert_eq!(refusal.class(), UNKNOWN, "nothing of it is wrong");
    }
}
