//! What SRS's callbacks say, in its order: `on_publish`, `on_unpublish`, and in
//! between what its API is polled for, which becomes a report of all connections.
//! A connection is the `server_id`, the `service_id` (new at every start) and the
//! `client_id`. `on_publish` is called before SRS finds that a stream is busy,
//! and who finds it busy gets no `on_unpublish`.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    adapter::Adapter,
    node::{adopted, agrees, kicks},
    scene::{CONTINUE, Scene, seconds, state, stop},
};
use crate::harness::{Engine, Postgres, Sqlite};

const TAKEN_OVER: pb::EndReason = pb::EndReason::TakenOver;

async fn taking_over(engine: Engine, window_seconds: i64) -> Scene {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    Scene::of(engine, &[], request).await
}

#[rstest]
#[tokio::test]
async fn a_publisher_comes_is_polled_and_goes(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let mut srs = Adapter::of(&scene, "k7w2e9xq");
    srs.begin("c1", false).await.unwrap();

    agrees(&srs.sync(&["c1"]).await);
    let live = scene.running().await.unwrap();
    assert_eq!(live.status(), pb::StreamStatus::Live);

    let ended = srs.end("c1").await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    assert_eq!(srs.end("c1").await, ended, "the callback once more");
    agrees(&srs.sync(&[]).await);
}

#[rstest]
#[tokio::test]
async fn the_loser_of_a_double_publish_is_refused_and_says_nothing_more(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut srs = Adapter::of(&scene, "k7w2e9xq");
    let winner = srs.begin("c1", true).await.unwrap();

    let refusal = srs.begin("c2", false).await.unwrap_err();

    assert_eq!(refusal, "PUBLISH_CONFLICT");
    agrees(&srs.sync(&["c1"]).await);
    assert_eq!(scene.running().await.unwrap().id, winner.id);
}

/// The control plane thought the first one lost and let the second one in; to
/// SRS the stream was busy.
#[rstest]
#[tokio::test]
async fn who_was_let_in_to_a_busy_stream_gives_it_back(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];
    let scene = Scene::with_window(engine, &flags).await;
    let mut srs = Adapter::of(&scene, "k7w2e9xq");
    let first = srs.begin("c1", true).await.unwrap();
    scene
        .eventually(&first, pb::StreamStatus::Reconnecting)
        .await;
    let second = srs.begin("c2", false).await.unwrap();
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    let answer = srs.sync(&["c1"]).await;

    let (id, stream) = adopted(&answer);
    assert_eq!((id, &stream.id, stream.epoch), ("c1", &first.id, 3));
    assert_eq!(kicks(&answer), []);
    assert_eq!(srs.heartbeat("c2").await, stop(TAKEN_OVER));
    assert_eq!(srs.heartbeat("c1").await, CONTINUE);
}

/// Which of them publishes, nobody can know before the next report.
#[rstest]
#[tokio::test]
async fn a_take_over_of_a_busy_stream_is_done_when_the_publisher_comes_again(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = taking_over(engine, 0).await;
    let mut srs = Adapter::of(&scene, "k7w2e9xq");
    let old = srs.begin("c1", true).await.unwrap();
    let new = srs.begin("c2", false).await.unwrap();
    assert_eq!(scene.running().await.unwrap().id, new.id);

    // SRS has the old one alone: it is disconnected, with a callback.
    let answer = srs.sync(&["c1"]).await;
    assert_eq!(kicks(&answer), [("c1", TAKEN_OVER)]);
    assert_eq!(answer.ended_stream_ids, [new.id]);
    let over = (pb::StreamStatus::Ended, TAKEN_OVER);
    assert_eq!(state(&srs.end("c1").await), over);
    let next = srs.begin("c3", true).await.unwrap();

    agrees(&srs.sync(&["c3"]).await);
    assert_eq!(scene.running().await.unwrap().id, next.id);
    assert_eq!(state(&scene.owner.stream(&old.id).await), over);
}

/// A callback that fails is logged and not repeated.
#[rstest]
#[tokio::test]
async fn an_unpublish_that_was_never_told_is_found_in_the_next_report(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let scene = taking_over(engine, window_seconds).await;
    let mut srs = Adapter::of(&scene, "k7w2e9xq");
    let stream = srs.begin("c1", true).await.unwrap();

    let answer = srs.sync(&[]).await;

    let (status, ended) = match window_seconds {
        0 => (pb::StreamStatus::Ended, vec![stream.id.clone()]),
        _ => (pb::StreamStatus::Reconnecting, vec![]),
    };
    assert_eq!(answer.ended_stream_ids, ended);
    let after = scene.owner.stream(&stream.id).await;
    assert_eq!(after.status(), status);
    assert_eq!(srs.end("c1").await, after, "the callback after all");
}

#[rstest]
#[tokio::test]
async fn a_publish_that_arrives_after_its_unpublish_lets_nobody_in(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let mut srs = Adapter::of(&scene, "k7w2e9xq");
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
    let waiting = scene.running().await.unwrap();
    assert_eq!((&waiting.id, waiting.epoch), (&back.id, 2));
}

/// A new `service_id`: every stream of the one before is dead.
#[rstest]
#[tokio::test]
async fn an_unpublish_of_the_boot_before_does_not_end_what_the_next_has_begun(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let scene = taking_over(engine, window_seconds).await;
    let mut old = Adapter::of(&scene, "k7w2e9xq");
    let lost = old.begin("c1", true).await.unwrap();

    let mut new = Adapter::of(&scene, "p0m3z8ru");
    let begun = new.begin("c1", true).await.unwrap();
    assert_eq!(begun.id == lost.id, window_seconds > 0);
    old.end("c1").await;

    assert_eq!(scene.running().await.unwrap(), begun);
    assert_eq!(old.heartbeat("c1").await.0, pb::PublishAction::Stop);
    agrees(&new.sync(&["c1"]).await);
}

#[rstest]
#[tokio::test]
async fn after_an_outage_one_report_sets_everything_right(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let mut srs = Adapter::of(&scene, "k7w2e9xq");
    let before = srs.begin("c1", true).await.unwrap();
    let scene = scene.restart().await;
    srs.reach(&scene);

    let answer = srs.sync(&["c2"]).await;

    let (id, stream) = adopted(&answer);
    assert_eq!((id, &stream.id, stream.epoch), ("c2", &before.id, 2));
    assert_eq!((kicks(&answer), answer.ended_stream_ids.len()), (vec![], 0));
    agrees(&srs.sync(&["c2"]).await);
}
