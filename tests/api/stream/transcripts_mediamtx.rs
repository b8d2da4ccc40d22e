//! What MediaMTX says, in its order: the authentication of a publisher
//! (`action: publish`), `runOnAvailable` when its media is there, and
//! `runOnUnavailable`. The `id` of the first is the `MTX_SOURCE_ID` of the others.
//! With `overridePublisher` a newcomer closes the publisher before it.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    adapter::Adapter,
    node::{adopted, agrees, kicks},
    scene::{CONTINUE, Scene, seconds, state, stop},
};
use crate::harness::{Engine, Postgres, Sqlite};

const OLD: &str = "5f8e1c9a-0f4b-4b1e-9c35-6f0e4c1d2a01";
const NEW: &str = "5f8e1c9a-0f4b-4b1e-9c35-6f0e4c1d2a02";
const NEXT: &str = "5f8e1c9a-0f4b-4b1e-9c35-6f0e4c1d2a03";

const TAKEN_OVER: (pb::StreamStatus, pb::EndReason) =
    (pb::StreamStatus::Ended, pb::EndReason::TakenOver);

async fn taking_over(engine: Engine, window_seconds: i64) -> Scene {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    Scene::of(engine, &[], request).await
}

impl Adapter {
    /// A publisher that was let in and has media.
    async fn available(&mut self, connection: &str) -> pb::Stream {
        self.begin(connection, false).await.unwrap();
        assert_eq!(self.heartbeat(connection).await, CONTINUE);
        self.stream(connection)
    }
}

#[rstest]
#[tokio::test]
async fn who_was_let_in_is_live_when_its_media_is_there(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut mtx = Adapter::of(&scene, "b1");

    let begun = mtx.begin(OLD, false).await.unwrap();
    assert_eq!(begun.status(), pb::StreamStatus::Connecting);
    // RTSP clients are asked twice.
    let again = mtx.begin(OLD, false).await.unwrap();
    assert_eq!((&again.id, again.epoch), (&begun.id, 1));

    assert_eq!(mtx.heartbeat(OLD).await, CONTINUE);
    let live = scene.running().await.unwrap();
    assert_eq!(live.status(), pb::StreamStatus::Live);
    let ended = mtx.end(OLD).await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    assert_eq!(mtx.end(OLD).await, ended, "the hook once more");
}

#[rstest]
#[tokio::test]
async fn who_was_let_in_and_never_came_never_started(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--heartbeat-interval=100ms", "--connect-timeout=400ms"];
    let flags = [flags.as_slice(), &["--heartbeat-timeout=400ms"]].concat();
    let scene = Scene::start_with(engine, &flags).await;
    let mut mtx = Adapter::of(&scene, "b1");
    let begun = mtx.begin(OLD, false).await.unwrap();

    let ended = scene.eventually(&begun, pb::StreamStatus::Ended).await;

    assert_eq!(ended.end_reason(), pb::EndReason::NeverStarted);
}

/// auth(new), unavailable(old), available(new).
#[rstest]
#[tokio::test]
async fn with_override_a_newcomer_takes_over(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let scene = taking_over(engine, window_seconds).await;
    let mut mtx = Adapter::of(&scene, "b1");
    let old = mtx.available(OLD).await;

    let new = mtx.begin(NEW, false).await.unwrap();
    assert_eq!(state(&mtx.end(OLD).await), TAKEN_OVER);
    assert_eq!(mtx.heartbeat(NEW).await, CONTINUE);

    let running = scene.running().await.unwrap();
    assert_eq!(running.id, new.id);
    assert_eq!(running.status(), pb::StreamStatus::Live);
    assert_eq!(state(&scene.owner.stream(&old.id).await), TAKEN_OVER);
    agrees(&mtx.sync(&[NEW]).await);
}

/// The commands of hooks run beside each other.
#[rstest]
#[tokio::test]
async fn with_override_the_end_of_the_old_may_come_after_the_media_of_the_new(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = taking_over(engine, 60).await;
    let mut mtx = Adapter::of(&scene, "b1");
    mtx.available(OLD).await;

    mtx.available(NEW).await;
    let running = scene.running().await.unwrap();
    mtx.end(OLD).await;
    mtx.end_as(OLD, NEW).await;

    assert_eq!(scene.running().await.unwrap(), running);
}

/// MediaMTX would let the newcomer in; the project's policy does not.
#[rstest]
#[tokio::test]
async fn with_override_a_newcomer_that_is_refused_closes_nobody(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut mtx = Adapter::of(&scene, "b1");
    mtx.available(OLD).await;

    assert_eq!(mtx.begin(NEW, false).await.unwrap_err(), "PUBLISH_CONFLICT");

    agrees(&mtx.sync(&[OLD]).await);
}

/// auth(new), and "someone is already publishing": nothing more is said of it.
#[rstest]
#[tokio::test]
async fn without_override_a_take_over_is_done_when_the_publisher_comes_again(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = taking_over(engine, 0).await;
    let mut mtx = Adapter::of(&scene, "b1");
    mtx.available(OLD).await;
    let new = mtx.begin(NEW, false).await.unwrap();

    let answer = mtx.sync(&[OLD]).await;
    assert_eq!(kicks(&answer), [(OLD, pb::EndReason::TakenOver)]);
    assert_eq!(answer.ended_stream_ids, [new.id]);
    assert_eq!(state(&mtx.end(OLD).await), TAKEN_OVER);
    let next = mtx.available(NEXT).await;

    agrees(&mtx.sync(&[NEXT]).await);
    assert_eq!(scene.running().await.unwrap().id, next.id);
}

#[rstest]
#[tokio::test]
async fn without_override_and_take_over_the_newcomer_is_refused_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let mut mtx = Adapter::of(&scene, "b1");
    let old = mtx.available(OLD).await;

    assert_eq!(mtx.begin(NEW, false).await.unwrap_err(), "PUBLISH_CONFLICT");
    assert_eq!(mtx.heartbeat(OLD).await, CONTINUE);

    mtx.end(OLD).await;
    let back = mtx.available(NEXT).await;
    assert_eq!((&back.id, back.epoch), (&old.id, 2));
}

#[rstest]
#[tokio::test]
async fn media_that_is_told_after_it_is_gone_brings_nothing_back(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut mtx = Adapter::of(&scene, "b1");
    mtx.begin(OLD, false).await.unwrap();

    let gone = mtx.end(OLD).await;
    let available = mtx.heartbeat(OLD).await;

    assert_eq!(available, stop(pb::EndReason::PublisherEnded));
    assert_eq!(scene.owner.stream(&gone.id).await, gone);
}

/// A crash runs no command: `runOnUnavailable` of nobody is ever run.
#[rstest]
#[tokio::test]
async fn what_a_crash_left_is_over_when_the_next_boot_says_what_it_has(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut old = Adapter::of(&scene, "b1");
    let lost = old.available(OLD).await;

    // Its publisher was back before the adapter could ask for it.
    let mut new = Adapter::of(&scene, "b2");
    let answer = new.sync(&[NEW]).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&lost.id));
    let (id, stream) = adopted(&answer);
    assert_eq!((id, stream.epoch), (NEW, 1));
    old.end(OLD).await;
    let over = scene.owner.stream(&lost.id).await;
    assert_eq!(over.end_reason(), pb::EndReason::NodeLost);
    agrees(&new.sync(&[NEW]).await);
}

#[rstest]
#[tokio::test]
async fn after_an_outage_one_report_sets_everything_right(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = taking_over(engine, 0).await;
    let mut mtx = Adapter::of(&scene, "b1");
    let old = mtx.available(OLD).await;
    let scene = scene.restart().await;
    mtx.reach(&scene);

    // Meanwhile a newcomer has closed the publisher before it.
    let answer = mtx.sync(&[NEW]).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&old.id));
    assert_eq!(adopted(&answer).0, NEW);
    let late = mtx.end(OLD).await;
    assert_eq!(late.end_reason(), pb::EndReason::PublisherEnded);
    agrees(&mtx.sync(&[NEW]).await);
}
