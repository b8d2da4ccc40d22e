//! What nginx-rtmp's hooks say, in its order: `publish`, `update_publish` every
//! 30 seconds, `publish_done`. A connection is the node, the boot (from `/stat`)
//! and the `clientid`, which counts from 1 again after a start. Hooks of all
//! connections carry the same `name`.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    adapter::Adapter,
    node::{adopted, agrees, kicks},
    scene::{CONTINUE, Scene, seconds, state, stop},
};
use crate::harness::{Engine, Postgres, Sqlite};

const TAKEN_OVER: pb::EndReason = pb::EndReason::TakenOver;
const PUBLISHER_ENDED: (pb::StreamStatus, pb::EndReason) =
    (pb::StreamStatus::Ended, pb::EndReason::PublisherEnded);

async fn taking_over(engine: Engine) -> Scene {
    let request = pb::CreateProjectRequest {
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    Scene::of(engine, &[], request).await
}

#[rstest]
#[tokio::test]
async fn a_publisher_comes_reports_and_goes(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let mut nginx = Adapter::of(&scene, "4711/1");

    nginx.begin("1", false).await.unwrap();
    assert_eq!(nginx.heartbeat("1").await, CONTINUE);
    assert_eq!(nginx.heartbeat("1").await, CONTINUE);

    let ended = nginx.end("1").await;
    assert_eq!(state(&ended), PUBLISHER_ENDED);
    // The hook of the end once more.
    assert_eq!(nginx.end("1").await, ended);
    assert_eq!(scene.running().await, None);
}

/// The loser's connection stays open: its updates and its end come under the
/// name of the winner.
#[rstest]
#[tokio::test]
async fn the_loser_of_a_double_publish_is_refused_and_talks_on(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut nginx = Adapter::of(&scene, "4711/1");
    nginx.begin("54", true).await.unwrap();

    let refusal = nginx.begin("55", false).await.unwrap_err();
    assert_eq!(refusal, "PUBLISH_CONFLICT");
    let winner = scene.running().await.unwrap();
    assert_eq!(nginx.heartbeat_as("55", "54").await, stop(TAKEN_OVER));
    assert_eq!(nginx.end_as("55", "54").await, winner);

    assert_eq!(scene.running().await.unwrap(), winner);
    assert_eq!(nginx.heartbeat("54").await, CONTINUE);
}

/// The hook is asked before nginx looks for a conflict: it lets the newcomer in,
/// nginx says `BadName` to it, and updates it all the same.
#[rstest]
#[tokio::test]
async fn a_take_over_is_done_when_both_connections_are_gone(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = taking_over(engine).await;
    let mut nginx = Adapter::of(&scene, "4711/1");
    let old = nginx.begin("54", true).await.unwrap();

    let new = nginx.begin("55", false).await.unwrap();
    // An answer that is not 2xx disconnects the old publisher.
    assert_eq!(nginx.heartbeat("54").await, stop(TAKEN_OVER));
    let over = nginx.end("54").await;
    assert_eq!(state(&over), (pb::StreamStatus::Ended, TAKEN_OVER));
    assert_eq!(scene.running().await.unwrap().id, new.id);
    // The newcomer, whom nginx never let publish, gives up and tries again.
    assert_eq!(state(&nginx.end("55").await), PUBLISHER_ENDED);
    let next = nginx.begin("56", true).await.unwrap();

    assert_eq!(scene.running().await.unwrap(), next);
    assert_eq!(scene.owner.stream(&old.id).await, over);
}

/// The control plane thought the first connection lost; nginx still had it, and
/// sent the newcomer away after its hook was answered.
#[rstest]
#[tokio::test]
async fn the_end_of_a_newcomer_that_never_published_leaves_the_stream_to_the_first(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];
    let scene = Scene::with_window(engine, &flags).await;
    let mut nginx = Adapter::of(&scene, "4711/1");
    let first = nginx.begin("54", true).await.unwrap();
    scene
        .eventually(&first, pb::StreamStatus::Reconnecting)
        .await;

    let second = nginx.begin("55", false).await.unwrap();
    assert_eq!((&second.id, second.epoch), (&first.id, 2));
    nginx.end("55").await;
    // nginx goes on with the connection that it has: it stands, and says so.
    let answer = nginx.sync(&["54"]).await;

    let (id, stream) = adopted(&answer);
    assert_eq!((id, &stream.id, stream.epoch), ("54", &first.id, 3));
    assert_eq!(nginx.end_as("55", "55").await.epoch, 3);
    assert!(scene.running().await.is_some());
}

/// `publish_done` is sent once, and not again if nobody answers.
#[rstest]
#[tokio::test]
async fn an_end_that_was_never_told_is_found_in_the_next_report(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let mut nginx = Adapter::of(&scene, "4711/1");
    let stream = nginx.begin("1", true).await.unwrap();

    let answer = nginx.sync(&[]).await;

    assert_eq!(answer.ended_stream_ids, [stream.id]);
    assert_eq!(state(&nginx.end("1").await), PUBLISHER_ENDED);
}

/// Each hook is a connection of its own: they overtake one another.
#[rstest]
#[tokio::test]
async fn hooks_that_arrive_after_the_end_bring_nothing_back(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        ..Default::default()
    };
    let scene = Scene::of(engine, &[], request).await;
    let mut nginx = Adapter::of(&scene, "4711/1");
    nginx.begin("1", true).await.unwrap();
    let after = nginx.end("1").await;

    let update = nginx.heartbeat("1").await;
    assert_eq!(update, stop(pb::EndReason::PublisherEnded));
    let publish = nginx.begin("1", false).await;
    assert_eq!(publish.unwrap_err(), "CONNECTION_ENDED");

    assert_eq!(scene.owner.stream(&after.id).await, after);
}

/// After a start `clientid` counts from 1 again.
#[rstest]
#[tokio::test]
async fn hooks_of_a_dead_boot_do_not_touch_the_same_number_of_the_next(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] synced: bool,
) {
    let scene = Scene::start(engine).await;
    let mut old = Adapter::of(&scene, "4711/1");
    let lost = old.begin("1", true).await.unwrap();

    // It is killed, and sends no hook.
    let mut new = Adapter::of(&scene, "4812/1");
    if synced {
        let answer = new.sync(&[]).await;
        assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&lost.id));
    }
    let begun = new.begin("1", true).await.unwrap();
    assert_ne!(begun.id, lost.id);
    assert_eq!(scene.running().await.unwrap(), begun);

    // What was still on its way.
    assert_eq!(old.heartbeat("1").await, stop(pb::EndReason::NodeLost));
    let ended = old.end("1").await;
    let node_lost = (pb::StreamStatus::Ended, pb::EndReason::NodeLost);
    assert_eq!(state(&ended), node_lost);
    assert_eq!(ended.end_time, lost.last_seen_time);
    assert_eq!(old.begin("2", true).await.unwrap_err(), "NODE_SUPERSEDED");

    assert_eq!(scene.running().await.unwrap(), begun);
    agrees(&new.sync(&["1"]).await);
}

/// Nobody answered for a while; the adapter let nginx keep its publishers.
#[rstest]
#[tokio::test]
async fn after_an_outage_one_report_sets_everything_right(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = taking_over(engine).await;
    let mut nginx = Adapter::of(&scene, "4711/1");
    let before = nginx.begin("1", true).await.unwrap();
    let scene = scene.restart().await;
    nginx.reach(&scene);

    // Meanwhile the publisher has come again, and another one after it.
    let answer = nginx.sync(&["2", "3"]).await;

    assert_eq!(answer.ended_stream_ids, [before.id]);
    assert_eq!(kicks(&answer), [("3", TAKEN_OVER)]);
    let (id, stream) = adopted(&answer);
    assert_eq!((id, stream.status()), ("2", pb::StreamStatus::Live));
    assert_eq!(scene.running().await.as_ref(), Some(stream));
    agrees(&nginx.sync(&["2"]).await);
}
