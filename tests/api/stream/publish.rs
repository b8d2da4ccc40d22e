use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{CONTINUE, Scene, at, bytes, seconds, state, stop, told};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite};

#[rstest]
#[tokio::test]
async fn a_publish_begins_a_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;

    let answer = scene
        .node
        .begin(&scene.key, "a")
        .await
        .unwrap()
        .into_inner();

    assert_eq!(answer.heartbeat_interval, Some(seconds(1)));
    let stream = answer.stream.unwrap();
    assert!(stream.create_time.is_some());
    let expected = pb::Stream {
        id: stream.id.clone(),
        project_id: scene.project_id.clone(),
        status: pb::StreamStatus::Connecting.into(),
        epoch: 1,
        create_time: stream.create_time,
        live_time: None,
        last_seen_time: stream.create_time,
        end_time: None,
        end_reason: pb::EndReason::Unspecified.into(),
        publisher: Some(MediaServer::connection("a")),
        stats: None,
    };
    assert_eq!(stream, expected);
    assert_eq!(scene.owner.stream(&stream.id).await, expected);
}

#[rstest]
#[tokio::test]
async fn a_publish_with_media_is_live_at_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;

    let stream = scene.begun_live("a").await;

    assert_eq!(stream.epoch, 1);
    assert_eq!(stream.live_time, stream.create_time);
    assert_eq!(scene.owner.stream(&stream.id).await, stream);
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_with_media_makes_the_stream_live(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let begun = scene.begun("a").await;

    let live = scene.begun_live("a").await;

    assert_eq!((&live.id, live.epoch), (&begun.id, 1));
    assert_eq!(scene.owner.stream(&begun.id).await, live);
}

#[rstest]
#[case::not_measured(None, pb::StreamStatus::Live)]
#[case::no_media_yet(bytes(0), pb::StreamStatus::Connecting)]
#[case::media(bytes(1), pb::StreamStatus::Live)]
#[tokio::test]
async fn a_heartbeat_with_media_makes_the_stream_live(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] stats: Option<pb::StreamStats>,
    #[case] status: pb::StreamStatus,
) {
    let scene = Scene::start(engine).await;
    let begun = scene.begun("a").await;

    let connection = MediaServer::connection("a");
    let answer = scene.heartbeat_of(&begun, connection, stats.clone()).await;

    assert_eq!(told(&answer), CONTINUE);
    let stream = answer.stream.unwrap();
    assert_eq!(stream.status(), status);
    assert_eq!(stream.live_time.is_some(), status == pb::StreamStatus::Live);
    assert_eq!(stream.stats, stats);
    assert!(at(stream.last_seen_time) > at(begun.last_seen_time));
    assert_eq!(scene.owner.stream(&begun.id).await, stream);
}

#[rstest]
#[tokio::test]
async fn later_heartbeats_move_only_when_the_publisher_was_seen(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;

    for stats in [None, bytes(7), bytes(0)] {
        let before = scene.owner.stream(&live.id).await;
        let connection = MediaServer::connection("a");
        let answer = scene.heartbeat_of(&live, connection, stats.clone()).await;

        assert_eq!(told(&answer), CONTINUE);
        let stream = answer.stream.unwrap();
        assert!(at(stream.last_seen_time) > at(before.last_seen_time));
        let expected = pb::Stream {
            last_seen_time: stream.last_seen_time,
            stats: stats.or(before.stats),
            ..before
        };
        assert_eq!(stream, expected);
        assert_eq!(scene.owner.stream(&live.id).await, expected);
    }
}

#[rstest]
#[tokio::test]
async fn what_was_last_measured_is_kept_and_shown(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let stream = scene.begun("a").await;
    let first = pb::StreamStats {
        bytes_received: i64::MAX,
        bitrate_bps: 6_000_000,
        width: 1920,
        height: 1080,
        fps: 59.94,
        video_codec: "h264".to_owned(),
        audio_codec: "aac".to_owned(),
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
        let answer = scene.heartbeat_of(&stream, connection, sent).await;

        assert_eq!(answer.stream.unwrap().stats.as_ref(), Some(shown));
        let stream = scene.owner.stream(&stream.id).await;
        assert_eq!(stream.stats.as_ref(), Some(shown));
    }
}

#[rstest]
#[tokio::test]
async fn the_end_of_the_publisher_ends_the_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;

    let ended = scene.node.end(&live, "a").await;

    assert!(at(ended.end_time) > at(live.last_seen_time));
    let expected = pb::Stream {
        status: pb::StreamStatus::Ended.into(),
        end_reason: pb::EndReason::PublisherEnded.into(),
        end_time: ended.end_time,
        last_seen_time: ended.end_time,
        ..live.clone()
    };
    assert_eq!(ended, expected);
    assert_eq!(scene.node.end(&live, "a").await, expected);
    let late = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::PublisherEnded));
    assert_eq!(late.stream, Some(expected.clone()));
    assert_eq!(scene.owner.stream(&live.id).await, expected);
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_by_its_connection_is_the_same_publish(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let begun = scene.begun("a").await;
    let again = scene.begun("a").await;
    let live = scene.node.heartbeat(&begun, "a").await.stream.unwrap();
    let once_more = scene.begun("a").await;

    let seen = |stream: &pb::Stream, now: &pb::Stream| pb::Stream {
        last_seen_time: now.last_seen_time,
        ..stream.clone()
    };
    assert_eq!(again, seen(&begun, &again));
    assert_eq!(once_more, seen(&live, &once_more));
    assert_eq!(scene.unended().await, 1);
}

#[rstest]
#[tokio::test]
async fn a_new_publish_after_the_end_is_a_new_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let first = scene.node.live(&scene.key, "a").await;
    let ended = scene.node.end(&first, "a").await;

    let second = scene.begun("b").await;

    assert!(second.id > first.id);
    assert_eq!(second.epoch, 1);
    assert_eq!(scene.owner.stream(&first.id).await, ended);
    // The first publish, reported late, is not the second one.
    scene.node.end(&first, "a").await;
    assert_eq!(scene.owner.stream(&second.id).await, second);
}

#[rstest]
#[tokio::test]
async fn whatever_a_publisher_may_be_is_kept(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;

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
            stream_key: scene.key.clone(),
            publisher: Some(publisher.clone()),
            media_flowing: false,
            play_url: String::new(),
        };
        let mut client = scene.node.client.stream.clone();
        let answer = client.begin_publish(request).await.unwrap().into_inner();
        let stream = answer.stream.unwrap();
        let expected = pb::Publisher {
            peer_address: kept.to_owned(),
            ..publisher.clone()
        };
        assert_eq!(stream.publisher, Some(expected));

        let ended = scene.end_of(&stream, publisher).await;
        let over = (pb::StreamStatus::Ended, pb::EndReason::PublisherEnded);
        assert_eq!(state(&ended), over);
    }
}
