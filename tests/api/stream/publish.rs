use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{
    CONTINUE, Fixture, instruction, seconds, state, stats_with_bytes, stop, timestamp,
};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, Sqlite};

#[rstest]
#[tokio::test]
async fn a_publish_begins_a_stream(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;

    let answer = fixture
        .node
        .begin(&fixture.key, "a")
        .await
        .unwrap()
        .into_inner();

    assert_eq!(answer.heartbeat_interval, Some(seconds(1)));
    let stream = answer.stream.unwrap();
    assert!(stream.create_time.is_some());
    let expected = pb::Stream {
        id: stream.id.clone(),
        project_id: fixture.project_id.clone(),
        state: pb::StreamState::Connecting.into(),
        epoch: 1,
        create_time: stream.create_time,
        live_time: None,
        last_seen_time: stream.create_time,
        end_time: None,
        end_reason: pb::EndReason::Unspecified.into(),
        publisher: Some(MediaServer::connection("a")),
        stats: None,
        issues: Vec::new(),
    };
    assert_eq!(stream, expected);
    assert_eq!(fixture.owner.stream(&stream.id).await, expected);
}

#[tokio::test]
async fn white_space_and_invisible_characters_around_a_pasted_stream_key_are_ignored() {
    let fixture = Fixture::start(Sqlite).await;

    let pasted = [
        " KEY",
        "KEY ",
        "KEY\n",
        "\tKEY\r\n",
        "KEY\u{a0}",
        "\u{feff}KEY",
        "KEY\u{200b}",
    ];
    for (number, pasted) in pasted.into_iter().enumerate() {
        let key = pasted.replace("KEY", &fixture.key);
        let stream = fixture.node.live(&key, &format!("c{number}")).await;
        fixture.node.end(&stream, &format!("c{number}")).await;
        assert_eq!(stream.project_id, fixture.project_id, "{pasted:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_publish_with_media_is_live_at_once(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;

    let stream = fixture.begin_live_stream("a").await;

    assert_eq!(stream.epoch, 1);
    assert_eq!(stream.live_time, stream.create_time);
    assert_eq!(fixture.owner.stream(&stream.id).await, stream);
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_with_media_makes_the_stream_live(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let begun = fixture.begin_stream("a").await;

    let live = fixture.begin_live_stream("a").await;

    assert_eq!((&live.id, live.epoch), (&begun.id, 1));
    assert_eq!(fixture.owner.stream(&begun.id).await, live);
}

#[rstest]
#[case::not_measured(None, pb::StreamState::Live)]
#[case::no_media_yet(stats_with_bytes(0), pb::StreamState::Connecting)]
#[case::media(stats_with_bytes(1), pb::StreamState::Live)]
#[tokio::test]
async fn a_heartbeat_with_media_makes_the_stream_live(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[case] stats: Option<pb::StreamStats>,
    #[case] state: pb::StreamState,
) {
    let fixture = Fixture::start(engine).await;
    let begun = fixture.begin_stream("a").await;

    let connection = MediaServer::connection("a");
    let answer = fixture
        .heartbeat_from(&begun, connection, stats.clone())
        .await;

    assert_eq!(instruction(&answer), CONTINUE);
    let stream = answer.stream.unwrap();
    assert_eq!(stream.state(), state);
    assert_eq!(stream.live_time.is_some(), state == pb::StreamState::Live);
    assert_eq!(stream.stats, stats);
    assert!(timestamp(stream.last_seen_time) > timestamp(begun.last_seen_time));
    assert_eq!(fixture.owner.stream(&begun.id).await, stream);
}

#[rstest]
#[tokio::test]
async fn later_heartbeats_update_only_the_last_seen_time_and_statistics(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;

    for stats in [None, stats_with_bytes(7), stats_with_bytes(0)] {
        let before = fixture.owner.stream(&live.id).await;
        let connection = MediaServer::connection("a");
        let answer = fixture
            .heartbeat_from(&live, connection, stats.clone())
            .await;

        assert_eq!(instruction(&answer), CONTINUE);
        let stream = answer.stream.unwrap();
        assert!(timestamp(stream.last_seen_time) > timestamp(before.last_seen_time));
        let expected = pb::Stream {
            last_seen_time: stream.last_seen_time,
            stats: stats.or(before.stats),
            ..before
        };
        assert_eq!(stream, expected);
        assert_eq!(fixture.owner.stream(&live.id).await, expected);
    }
}

#[rstest]
#[tokio::test]
async fn the_latest_statistics_are_stored_and_shown(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.begin_stream("a").await;
    let first = pb::StreamStats {
        bytes_received: i64::MAX,
        bitrate_bps: 6_000_000,
        width: 1920,
        height: 1080,
        fps: 59.94,
        video_codec: "h264".to_owned(),
        audio_codec: "aac".to_owned(),
        ..Default::default()
    };
    let second = pb::StreamStats {
        video_codec: "ü".repeat(32),
        ..Default::default()
    };

    for (sent, shown) in [
        (Some(first.clone()), &first),
        (None, &first),
        (Some(second.clone()), &second),
    ] {
        let connection = MediaServer::connection("a");
        let answer = fixture.heartbeat_from(&stream, connection, sent).await;

        assert_eq!(answer.stream.unwrap().stats.as_ref(), Some(shown));
        let stream = fixture.owner.stream(&stream.id).await;
        assert_eq!(stream.stats.as_ref(), Some(shown));
    }
}

#[rstest]
#[tokio::test]
async fn the_end_of_the_publisher_ends_the_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;

    let ended = fixture.node.end(&live, "a").await;

    assert!(timestamp(ended.end_time) > timestamp(live.last_seen_time));
    let expected = pb::Stream {
        state: pb::StreamState::Ended.into(),
        end_reason: pb::EndReason::PublisherEnded.into(),
        end_time: ended.end_time,
        last_seen_time: ended.end_time,
        ..live.clone()
    };
    assert_eq!(ended, expected);
    assert_eq!(fixture.node.end(&live, "a").await, expected);
    let late = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::PublisherEnded));
    assert_eq!(late.stream, Some(expected.clone()));
    assert_eq!(fixture.owner.stream(&live.id).await, expected);
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_by_its_connection_is_the_same_publish(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let begun = fixture.begin_stream("a").await;
    let again = fixture.begin_stream("a").await;
    let live = fixture.node.heartbeat(&begun, "a").await.stream.unwrap();
    let once_more = fixture.begin_stream("a").await;

    let seen = |stream: &pb::Stream, now: &pb::Stream| pb::Stream {
        last_seen_time: now.last_seen_time,
        ..stream.clone()
    };
    assert_eq!(again, seen(&begun, &again));
    assert_eq!(once_more, seen(&live, &once_more));
    assert_eq!(fixture.count_unended().await, 1);
}

#[rstest]
#[tokio::test]
async fn a_new_publish_after_the_end_is_a_new_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let first = fixture.node.live(&fixture.key, "a").await;
    let ended = fixture.node.end(&first, "a").await;

    let second = fixture.begin_stream("b").await;

    assert!(second.id > first.id);
    assert_eq!(second.epoch, 1);
    assert_eq!(fixture.owner.stream(&first.id).await, ended);
    // A late report of the first publish does not affect the second one.
    fixture.node.end(&first, "a").await;
    assert_eq!(fixture.owner.stream(&second.id).await, second);
}

#[rstest]
#[tokio::test]
async fn every_valid_publisher_is_accepted_and_stored(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;

    for (protocol, given, kept) in [
        (pb::IngestProtocol::Unspecified, "", ""),
        (pb::IngestProtocol::Rtmp, "203.0.113.5", "203.0.113.5"),
        (pb::IngestProtocol::Rtmps, "2001:DB8::0:1", "2001:db8::1"),
        (
            pb::IngestProtocol::Srt,
            "::ffff:203.0.113.5",
            "::ffff:203.0.113.5",
        ),
        (pb::IngestProtocol::Whip, "10.0.0.1", "10.0.0.1"),
        (pb::IngestProtocol::Rtsp, "::1", "::1"),
    ] {
        let publisher = pb::Publisher {
            node_id: "!".repeat(128),
            boot_id: "~".repeat(128),
            connection_id: format!("a/b'c\"d%_{}", protocol.as_str_name()),
            peer_address: given.to_owned(),
            protocol: protocol.into(),
        };
        let request = pb::BeginPublishRequest {
            stream_key: fixture.key.clone(),
            publisher: Some(publisher.clone()),
            media_flowing: false,
            play_url: String::new(),
        };
        let mut client = fixture.node.client.stream.clone();
        let answer = client.begin_publish(request).await.unwrap().into_inner();
        let stream = answer.stream.unwrap();
        let expected = pb::Publisher {
            peer_address: kept.to_owned(),
            ..publisher.clone()
        };
        assert_eq!(stream.publisher, Some(expected));

        let ended = fixture.end_from(&stream, publisher).await;
        let over = (pb::StreamState::Ended, pb::EndReason::PublisherEnded);
        assert_eq!(state(&ended), over);
    }
}
