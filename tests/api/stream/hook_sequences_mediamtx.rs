//! The hooks of MediaMTX, in order: the authentication of a publisher (`action: publish`),
//! `runOnAvailable` when its media is available, and `runOnUnavailable`. The `id` of the first is
//! the `MTX_SOURCE_ID` of the others. With `overridePublisher` a new publisher closes the previous
//! one.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    adapter::Adapter,
    fixture::{CONTINUE, Fixture, state, stop},
    node_reports::{assert_no_action, kicks, single_adoption},
};
use crate::harness::{Engine, Postgres, Sqlite};

const OLD: &str = "5f8e1c9a-0f4b-4b1e-9c35-6f0e4c1d2a01";
const NEW: &str = "5f8e1c9a-0f4b-4b1e-9c35-6f0e4c1d2a02";
const NEXT: &str = "5f8e1c9a-0f4b-4b1e-9c35-6f0e4c1d2a03";

const TAKEN_OVER: (pb::StreamState, pb::EndReason) =
    (pb::StreamState::Ended, pb::EndReason::TakenOver);

impl Adapter {
    /// A publisher that is accepted and has media.
    async fn available(&mut self, connection: &str) -> pb::Stream {
        self.begin(connection, false).await.unwrap();
        assert_eq!(self.heartbeat(connection).await, CONTINUE);
        self.stream(connection)
    }
}

#[rstest]
#[tokio::test]
async fn an_accepted_publisher_is_live_once_its_media_is_available(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut mtx = Adapter::new(&fixture, "b1");

    let begun = mtx.begin(OLD, false).await.unwrap();
    assert_eq!(begun.state(), pb::StreamState::Connecting);
    // RTSP clients authenticate twice.
    let again = mtx.begin(OLD, false).await.unwrap();
    assert_eq!((&again.id, again.epoch), (&begun.id, 1));

    assert_eq!(mtx.heartbeat(OLD).await, CONTINUE);
    let live = fixture.running_stream().await.unwrap();
    assert_eq!(live.state(), pb::StreamState::Live);
    let ended = mtx.end(OLD).await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    assert_eq!(mtx.end(OLD).await, ended, "the hook once more");
}

#[rstest]
#[tokio::test]
async fn an_accepted_publisher_without_media_ends_as_never_started(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-interval=100ms", "--connect-timeout=400ms"];
    let flags = [flags.as_slice(), &["--heartbeat-timeout=400ms"]].concat();
    let fixture = Fixture::start_with(engine, &flags).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    let begun = mtx.begin(OLD, false).await.unwrap();

    let ended = fixture.wait_for_state(&begun, pb::StreamState::Ended).await;

    assert_eq!(ended.end_reason(), pb::EndReason::NeverStarted);
}

/// auth(new), unavailable(old), available(new).
#[rstest]
#[tokio::test]
async fn with_override_a_new_publisher_takes_over(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    let old = mtx.available(OLD).await;

    let new = mtx.begin(NEW, false).await.unwrap();
    assert_eq!(state(&mtx.end(OLD).await), TAKEN_OVER);
    assert_eq!(mtx.heartbeat(NEW).await, CONTINUE);

    let running = fixture.running_stream().await.unwrap();
    assert_eq!(running.id, new.id);
    assert_eq!(running.state(), pb::StreamState::Live);
    assert_eq!(state(&fixture.owner.stream(&old.id).await), TAKEN_OVER);
    assert_no_action(&mtx.sync(&[NEW]).await);
}

/// The commands of hooks run concurrently.
#[rstest]
#[tokio::test]
async fn with_override_the_end_of_the_old_publisher_may_arrive_after_the_media_of_the_new(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 60).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    mtx.available(OLD).await;

    mtx.available(NEW).await;
    let running = fixture.running_stream().await.unwrap();
    mtx.end(OLD).await;
    mtx.end_as(OLD, NEW).await;

    assert_eq!(fixture.running_stream().await.unwrap(), running);
}

/// MediaMTX would accept the new publisher; the policy of the project does not.
#[rstest]
#[tokio::test]
async fn with_override_a_refused_publisher_closes_no_other(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    mtx.available(OLD).await;

    assert_eq!(mtx.begin(NEW, false).await.unwrap_err(), "PUBLISH_CONFLICT");

    assert_no_action(&mtx.sync(&[OLD]).await);
}

/// auth(new), then "someone is already publishing": no further hook follows.
#[rstest]
#[tokio::test]
async fn without_override_a_takeover_completes_when_the_publisher_retries(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    mtx.available(OLD).await;
    let new = mtx.begin(NEW, false).await.unwrap();

    let answer = mtx.sync(&[OLD]).await;
    assert_eq!(kicks(&answer), [(OLD, pb::EndReason::TakenOver)]);
    assert_eq!(answer.ended_stream_ids, [new.id]);
    assert_eq!(state(&mtx.end(OLD).await), TAKEN_OVER);
    let next = mtx.available(NEXT).await;

    assert_no_action(&mtx.sync(&[NEXT]).await);
    assert_eq!(fixture.running_stream().await.unwrap().id, next.id);
}

#[rstest]
#[tokio::test]
async fn without_override_and_takeover_a_second_publisher_is_refused_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    let old = mtx.available(OLD).await;

    assert_eq!(mtx.begin(NEW, false).await.unwrap_err(), "PUBLISH_CONFLICT");
    assert_eq!(mtx.heartbeat(OLD).await, CONTINUE);

    mtx.end(OLD).await;
    let back = mtx.available(NEXT).await;
    assert_eq!((&back.id, back.epoch), (&old.id, 2));
}

#[rstest]
#[tokio::test]
async fn a_late_available_hook_does_not_revive_an_ended_publisher(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    mtx.begin(OLD, false).await.unwrap();

    let gone = mtx.end(OLD).await;
    let available = mtx.heartbeat(OLD).await;

    assert_eq!(available, stop(pb::EndReason::PublisherEnded));
    assert_eq!(fixture.owner.stream(&gone.id).await, gone);
}

/// After a crash, no `runOnUnavailable` is run.
#[rstest]
#[tokio::test]
async fn streams_left_by_a_crash_end_with_the_first_report_of_the_next_boot(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut old = Adapter::new(&fixture, "b1");
    let lost = old.available(OLD).await;

    // Its publisher reconnected before the adapter could send BeginPublish.
    let mut new = Adapter::new(&fixture, "b2");
    let answer = new.sync(&[NEW]).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&lost.id));
    let (id, stream) = single_adoption(&answer);
    assert_eq!((id, stream.epoch), (NEW, 1));
    old.end(OLD).await;
    let over = fixture.owner.stream(&lost.id).await;
    assert_eq!(over.end_reason(), pb::EndReason::NodeLost);
    assert_no_action(&new.sync(&[NEW]).await);
}

#[rstest]
#[tokio::test]
async fn one_report_after_an_outage_corrects_all_state(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let mut mtx = Adapter::new(&fixture, "b1");
    let old = mtx.available(OLD).await;
    let fixture = fixture.restart().await;
    mtx.reconnect_to(&fixture);

    // Meanwhile a new publisher has closed the previous one.
    let answer = mtx.sync(&[NEW]).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&old.id));
    assert_eq!(single_adoption(&answer).0, NEW);
    let late = mtx.end(OLD).await;
    assert_eq!(late.end_reason(), pb::EndReason::PublisherEnded);
    assert_no_action(&mtx.sync(&[NEW]).await);
}
