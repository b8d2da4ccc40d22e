//! The callbacks of SRS, in order: `on_publish`, `on_unpublish`, and in between polls of its API,
//! which become reports of all connections. A connection is identified by `server_id`,
//! `service_id` (new at every start) and `client_id`. `on_publish` is called before SRS finds that
//! a stream is busy; for a busy stream no `on_unpublish` follows.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    adapter::Adapter,
    fixture::{CONTINUE, Fixture, state, stop},
    node_reports::{assert_no_action, kicks, single_adoption},
};
use crate::harness::{Engine, Postgres, Sqlite};

const TAKEN_OVER: pb::EndReason = pb::EndReason::TakenOver;

#[rstest]
#[tokio::test]
async fn a_publisher_begins_is_polled_and_ends(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let mut srs = Adapter::new(&fixture, "k7w2e9xq");
    srs.begin("c1", false).await.unwrap();

    assert_no_action(&srs.sync(&["c1"]).await);
    let live = fixture.running_stream().await.unwrap();
    assert_eq!(live.state(), pb::StreamState::Live);

    let ended = srs.end("c1").await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    assert_eq!(srs.end("c1").await, ended, "the callback once more");
    assert_no_action(&srs.sync(&[]).await);
}

#[rstest]
#[tokio::test]
async fn a_second_publisher_is_refused_and_sends_no_further_callback(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut srs = Adapter::new(&fixture, "k7w2e9xq");
    let winner = srs.begin("c1", true).await.unwrap();

    let refusal = srs.begin("c2", false).await.unwrap_err();

    assert_eq!(refusal, "PUBLISH_CONFLICT");
    assert_no_action(&srs.sync(&["c1"]).await);
    assert_eq!(fixture.running_stream().await.unwrap().id, winner.id);
}

/// The first connection timed out at the control plane, which accepted the second one; for SRS the
/// stream was busy.
#[rstest]
#[tokio::test]
async fn a_publisher_accepted_for_a_busy_stream_loses_it_to_the_first(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];
    let fixture = Fixture::with_window(engine, &flags).await;
    let mut srs = Adapter::new(&fixture, "k7w2e9xq");
    let first = srs.begin("c1", true).await.unwrap();
    fixture
        .wait_for_state(&first, pb::StreamState::Reconnecting)
        .await;
    let second = srs.begin("c2", false).await.unwrap();
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    let answer = srs.sync(&["c1"]).await;

    let (id, stream) = single_adoption(&answer);
    assert_eq!((id, &stream.id, stream.epoch), ("c1", &first.id, 3));
    assert_eq!(kicks(&answer), []);
    assert_eq!(srs.heartbeat("c2").await, stop(TAKEN_OVER));
    assert_eq!(srs.heartbeat("c1").await, CONTINUE);
}

/// Only the next report shows which of them publishes.
#[rstest]
#[tokio::test]
async fn a_takeover_of_a_busy_stream_completes_when_the_publisher_retries(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let mut srs = Adapter::new(&fixture, "k7w2e9xq");
    let old = srs.begin("c1", true).await.unwrap();
    let new = srs.begin("c2", false).await.unwrap();
    assert_eq!(fixture.running_stream().await.unwrap().id, new.id);

    // SRS has only the old one, which is disconnected with a callback.
    let answer = srs.sync(&["c1"]).await;
    assert_eq!(kicks(&answer), [("c1", TAKEN_OVER)]);
    assert_eq!(answer.ended_stream_ids, [new.id]);
    let over = (pb::StreamState::Ended, TAKEN_OVER);
    assert_eq!(state(&srs.end("c1").await), over);
    let next = srs.begin("c3", true).await.unwrap();

    assert_no_action(&srs.sync(&["c3"]).await);
    assert_eq!(fixture.running_stream().await.unwrap().id, next.id);
    assert_eq!(state(&fixture.owner.stream(&old.id).await), over);
}

/// A callback that fails is logged and not repeated.
#[rstest]
#[tokio::test]
async fn a_lost_unpublish_callback_is_detected_by_the_next_report(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let mut srs = Adapter::new(&fixture, "k7w2e9xq");
    let stream = srs.begin("c1", true).await.unwrap();

    let answer = srs.sync(&[]).await;

    let (state, ended) = match window_seconds {
        0 => (pb::StreamState::Ended, vec![stream.id.clone()]),
        _ => (pb::StreamState::Reconnecting, vec![]),
    };
    assert_eq!(answer.ended_stream_ids, ended);
    let after = fixture.owner.stream(&stream.id).await;
    assert_eq!(after.state(), state);
    assert_eq!(srs.end("c1").await, after, "the callback after all");
}

#[rstest]
#[tokio::test]
async fn a_publish_callback_that_arrives_after_its_unpublish_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let mut srs = Adapter::new(&fixture, "k7w2e9xq");
    srs.begin("c1", true).await.unwrap();
    srs.end("c1").await;
    let back = srs.begin("c2", true).await.unwrap();

    assert_eq!(
        srs.begin("c1", false).await.unwrap_err(),
        "PUBLISH_CONFLICT"
    );

    srs.end("c2").await;
    assert_eq!(
        srs.begin("c1", false).await.unwrap_err(),
        "CONNECTION_ENDED"
    );
    let waiting = fixture.running_stream().await.unwrap();
    assert_eq!((&waiting.id, waiting.epoch), (&back.id, 2));
}

/// A new `service_id` means that every stream of the previous one has ended.
#[rstest]
#[tokio::test]
async fn an_unpublish_callback_of_an_old_boot_does_not_end_a_stream_of_the_next(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let mut old = Adapter::new(&fixture, "k7w2e9xq");
    let lost = old.begin("c1", true).await.unwrap();

    let mut new = Adapter::new(&fixture, "p0m3z8ru");
    let begun = new.begin("c1", true).await.unwrap();
    assert_eq!(begun.id == lost.id, window_seconds > 0);
    old.end("c1").await;

    assert_eq!(fixture.running_stream().await.unwrap(), begun);
    assert_eq!(old.heartbeat("c1").await.0, pb::PublishAction::Stop);
    assert_no_action(&new.sync(&["c1"]).await);
}

#[rstest]
#[tokio::test]
async fn one_report_after_an_outage_corrects_all_state(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let mut srs = Adapter::new(&fixture, "k7w2e9xq");
    let before = srs.begin("c1", true).await.unwrap();
    let fixture = fixture.restart().await;
    srs.reconnect_to(&fixture);

    let answer = srs.sync(&["c2"]).await;

    let (id, stream) = single_adoption(&answer);
    assert_eq!((id, &stream.id, stream.epoch), ("c2", &before.id, 2));
    assert_eq!((kicks(&answer), answer.ended_stream_ids.len()), (vec![], 0));
    assert_no_action(&srs.sync(&["c2"]).await);
}
