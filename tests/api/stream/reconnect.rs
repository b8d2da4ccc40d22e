use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{CONTINUE, Fixture, instruction, state, stop, timestamp};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, Sqlite};

/// Timeouts are detected quickly. The server waits for one timeout after its start.
const SHORT_TIMEOUTS: [&str; 2] = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];

const RECONNECTING: (pb::StreamState, pb::EndReason) =
    (pb::StreamState::Reconnecting, pb::EndReason::Unspecified);

#[rstest]
#[tokio::test]
async fn a_lost_connection_leaves_the_stream_reconnecting(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.node.live(&fixture.key, "a").await;

    let waiting = fixture.node.end(&live, "a").await;

    assert!(timestamp(waiting.last_seen_time) > timestamp(live.last_seen_time));
    let expected = pb::Stream {
        state: pb::StreamState::Reconnecting.into(),
        last_seen_time: waiting.last_seen_time,
        ..live.clone()
    };
    assert_eq!(waiting, expected);
    assert_eq!(fixture.node.end(&live, "a").await, expected);
    assert_eq!(fixture.owner.stream(&live.id).await, expected);
}

#[rstest]
#[tokio::test]
async fn a_publisher_that_reconnects_continues_the_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let waiting = fixture.node.end(&live, "a").await;
    let before = fixture.project().await;

    let back = fixture.begin_stream("b").await;

    assert!(timestamp(back.last_seen_time) > timestamp(waiting.last_seen_time));
    let expected = pb::Stream {
        epoch: 2,
        last_seen_time: back.last_seen_time,
        publisher: Some(MediaServer::connection("b")),
        ..live
    };
    assert_eq!(back, expected);
    assert_eq!(fixture.owner.stream(&back.id).await, expected);
    assert_eq!(fixture.project().await.revision, before.revision + 1);
    let next = fixture.node.heartbeat(&back, "b").await;
    assert_eq!(instruction(&next), CONTINUE);
    assert_eq!(next.stream.unwrap().live_time, back.live_time);
    let again = fixture.begin_stream("b").await;
    assert_eq!((&again.id, again.epoch), (&back.id, 2));
}

#[rstest]
#[tokio::test]
async fn each_reconnect_increments_the_epoch(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let mut stream = fixture.node.live(&fixture.key, "1").await;

    for epoch in 2..=4_i64 {
        fixture.node.end(&stream, &(epoch - 1).to_string()).await;
        let next = fixture.begin_stream(&epoch.to_string()).await;
        assert_eq!((&next.id, next.epoch), (&stream.id, epoch));
        assert_eq!(next.live_time, stream.live_time);
        stream = next;
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_lost_before_any_media_is_connecting_again_after_a_reconnect(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let begun = fixture.begin_stream("a").await;
    let waiting = fixture.node.end(&begun, "a").await;
    assert_eq!(state(&waiting), RECONNECTING);

    let back = fixture.begin_stream("b").await;

    assert_eq!((&back.id, back.epoch), (&begun.id, 2));
    assert_eq!(back.state(), pb::StreamState::Connecting);
    assert_eq!(back.live_time, None);
    let live = fixture.node.heartbeat(&back, "b").await.stream.unwrap();
    assert_eq!(live.state(), pb::StreamState::Live);
    assert_eq!(live.live_time, live.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn a_publisher_can_reconnect_with_media_flowing(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let begun = fixture.begin_stream("a").await;
    fixture.node.end(&begun, "a").await;

    let back = fixture.begin_live_stream("b").await;

    assert_eq!((&back.id, back.epoch), (&begun.id, 2));
    assert_eq!(back.live_time, back.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn a_stream_whose_publisher_does_not_reconnect_ends_at_its_last_seen_time(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &SHORT_TIMEOUTS).await;
    let live = fixture.begin_live_stream("a").await;
    let waiting = fixture.node.end(&live, "a").await;
    assert_eq!(state(&waiting), RECONNECTING);

    fixture.backdate("deadline").await;
    let ended = fixture.wait_for_state(&live, pb::StreamState::Ended).await;

    let expected = pb::Stream {
        state: pb::StreamState::Ended.into(),
        end_reason: pb::EndReason::ReconnectTimeout.into(),
        end_time: waiting.last_seen_time,
        ..waiting
    };
    assert_eq!(ended, expected);
    let late = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::ReconnectTimeout));
    assert_eq!(late.stream, Some(expected.clone()));
    assert_eq!(fixture.node.end(&live, "a").await, expected);
    assert_eq!(fixture.project().await.live_stream_id, "");
    let next = fixture.begin_stream("b").await;
    assert_ne!(next.id, live.id);
    assert_eq!(next.epoch, 1);
}

#[rstest]
#[tokio::test]
async fn a_stream_that_never_had_media_ends_as_never_started(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &SHORT_TIMEOUTS).await;
    let begun = fixture.begin_stream("a").await;
    let waiting = fixture.node.end(&begun, "a").await;

    fixture.backdate("deadline").await;
    let ended = fixture.wait_for_state(&begun, pb::StreamState::Ended).await;

    assert_eq!(ended.end_reason(), pb::EndReason::NeverStarted);
    assert_eq!(ended.end_time, waiting.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn a_publisher_can_reconnect_until_the_stream_has_ended(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let waiting = fixture.node.end(&live, "a").await;

    let back = fixture.begin_stream("b").await;
    fixture.node.end(&back, "b").await;
    let stopped = fixture.stop(&back, 0).await;

    let over = (pb::StreamState::Ended, pb::EndReason::StoppedByOwner);
    assert_eq!(state(&stopped), over);
    assert!(timestamp(stopped.end_time) > timestamp(waiting.last_seen_time));
    let next = fixture.begin_stream("c").await;
    assert_ne!(next.id, live.id);
    assert_eq!(next.epoch, 1);
}
