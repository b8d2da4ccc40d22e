//! The hooks of nginx-rtmp, in order: `publish`, `update_publish` every 30 seconds,
//! `publish_done`. A connection is identified by node, boot (from `/stat`) and `clientid`, which
//! counts from 1 again after a start. The hooks of all connections have the same `name`.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    adapter::Adapter,
    fixture::{CONTINUE, Fixture, state, stop},
    node_reports::{assert_no_action, kicks, single_adoption},
};
use crate::harness::{Engine, Postgres, Sqlite};

const TAKEN_OVER: pb::EndReason = pb::EndReason::TakenOver;
const PUBLISHER_ENDED: (pb::StreamState, pb::EndReason) =
    (pb::StreamState::Ended, pb::EndReason::PublisherEnded);

#[rstest]
#[tokio::test]
async fn a_publisher_begins_sends_updates_and_ends(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let mut nginx = Adapter::new(&fixture, "4711/1");

    nginx.begin("1", false).await.unwrap();
    assert_eq!(nginx.heartbeat("1").await, CONTINUE);
    assert_eq!(nginx.heartbeat("1").await, CONTINUE);

    let ended = nginx.end("1").await;
    assert_eq!(state(&ended), PUBLISHER_ENDED);
    // The publish_done hook again.
    assert_eq!(nginx.end("1").await, ended);
    assert_eq!(fixture.running_stream().await, None);
}

/// The refused connection stays open, and sends hooks with the name of the accepted stream.
#[rstest]
#[tokio::test]
async fn later_hooks_of_a_refused_second_publisher_do_not_affect_the_first(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut nginx = Adapter::new(&fixture, "4711/1");
    nginx.begin("54", true).await.unwrap();

    let refusal = nginx.begin("55", false).await.unwrap_err();
    assert_eq!(refusal, "PUBLISH_CONFLICT");
    let winner = fixture.running_stream().await.unwrap();
    assert_eq!(nginx.heartbeat_as("55", "54").await, stop(TAKEN_OVER));
    assert_eq!(nginx.end_as("55", "54").await, winner);

    assert_eq!(fixture.running_stream().await.unwrap(), winner);
    assert_eq!(nginx.heartbeat("54").await, CONTINUE);
}

/// nginx calls the hook before it checks for a conflict. The hook accepts the new publisher, nginx
/// answers it with `BadName`, and still sends its updates.
#[rstest]
#[tokio::test]
async fn a_takeover_completes_after_both_connections_have_ended(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let mut nginx = Adapter::new(&fixture, "4711/1");
    let old = nginx.begin("54", true).await.unwrap();

    let new = nginx.begin("55", false).await.unwrap();
    // A response other than 2xx disconnects the old publisher.
    assert_eq!(nginx.heartbeat("54").await, stop(TAKEN_OVER));
    let over = nginx.end("54").await;
    assert_eq!(state(&over), (pb::StreamState::Ended, TAKEN_OVER));
    assert_eq!(fixture.running_stream().await.unwrap().id, new.id);
    // The new publisher, which nginx never let publish, disconnects and retries.
    assert_eq!(state(&nginx.end("55").await), PUBLISHER_ENDED);
    let next = nginx.begin("56", true).await.unwrap();

    assert_eq!(fixture.running_stream().await.unwrap(), next);
    assert_eq!(fixture.owner.stream(&old.id).await, over);
}

/// The first connection timed out at the control plane, but nginx still had it, and refused the
/// second one after its hook was accepted.
#[rstest]
#[tokio::test]
async fn the_end_of_a_second_publisher_without_media_leaves_the_stream_to_the_first(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];
    let fixture = Fixture::with_window(engine, &flags).await;
    let mut nginx = Adapter::new(&fixture, "4711/1");
    let first = nginx.begin("54", true).await.unwrap();
    fixture
        .wait_for_state(&first, pb::StreamState::Reconnecting)
        .await;

    let second = nginx.begin("55", false).await.unwrap();
    assert_eq!((&second.id, second.epoch), (&first.id, 2));
    nginx.end("55").await;
    // nginx keeps its connection and reports it.
    let answer = nginx.sync(&["54"]).await;

    let (id, stream) = single_adoption(&answer);
    assert_eq!((id, &stream.id, stream.epoch), ("54", &first.id, 3));
    assert_eq!(nginx.end_as("55", "55").await.epoch, 3);
    assert!(fixture.running_stream().await.is_some());
}

/// `publish_done` is sent once, without retries.
#[rstest]
#[tokio::test]
async fn a_lost_publish_done_hook_is_detected_by_the_next_report(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut nginx = Adapter::new(&fixture, "4711/1");
    let stream = nginx.begin("1", true).await.unwrap();

    let answer = nginx.sync(&[]).await;

    assert_eq!(answer.ended_stream_ids, [stream.id]);
    assert_eq!(state(&nginx.end("1").await), PUBLISHER_ENDED);
}

/// Each hook is an HTTP request of its own, so that they can arrive in any order.
#[rstest]
#[tokio::test]
async fn hooks_that_arrive_after_the_end_do_not_revive_the_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_window_of(engine, window_seconds).await;
    let mut nginx = Adapter::new(&fixture, "4711/1");
    nginx.begin("1", true).await.unwrap();
    let after = nginx.end("1").await;

    let update = nginx.heartbeat("1").await;
    assert_eq!(update, stop(pb::EndReason::PublisherEnded));
    let publish = nginx.begin("1", false).await;
    assert_eq!(publish.unwrap_err(), "CONNECTION_ENDED");

    assert_eq!(fixture.owner.stream(&after.id).await, after);
}

/// After a start `clientid` counts from 1 again.
#[rstest]
#[tokio::test]
async fn hooks_of_an_old_boot_do_not_affect_the_same_client_id_of_the_next_boot(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] synced: bool,
) {
    let fixture = Fixture::start(engine).await;
    let mut old = Adapter::new(&fixture, "4711/1");
    let lost = old.begin("1", true).await.unwrap();

    // nginx is killed, and sends no hook.
    let mut new = Adapter::new(&fixture, "4812/1");
    if synced {
        let answer = new.sync(&[]).await;
        assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&lost.id));
    }
    let begun = new.begin("1", true).await.unwrap();
    assert_ne!(begun.id, lost.id);
    assert_eq!(fixture.running_stream().await.unwrap(), begun);

    // Delayed hooks of the old boot.
    assert_eq!(old.heartbeat("1").await, stop(pb::EndReason::NodeLost));
    let ended = old.end("1").await;
    let node_lost = (pb::StreamState::Ended, pb::EndReason::NodeLost);
    assert_eq!(state(&ended), node_lost);
    assert_eq!(ended.end_time, lost.last_seen_time);
    assert_eq!(old.begin("2", true).await.unwrap_err(), "NODE_SUPERSEDED");

    assert_eq!(fixture.running_stream().await.unwrap(), begun);
    assert_no_action(&new.sync(&["1"]).await);
}

/// During the outage the adapter let nginx keep its publishers.
#[rstest]
#[tokio::test]
async fn one_report_after_an_outage_corrects_all_state(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let mut nginx = Adapter::new(&fixture, "4711/1");
    let before = nginx.begin("1", true).await.unwrap();
    let fixture = fixture.restart().await;
    nginx.reconnect_to(&fixture);

    // Meanwhile the publisher has reconnected, and another one has connected after it.
    let answer = nginx.sync(&["2", "3"]).await;

    assert_eq!(answer.ended_stream_ids, [before.id]);
    assert_eq!(kicks(&answer), [("3", TAKEN_OVER)]);
    let (id, stream) = single_adoption(&answer);
    assert_eq!((id, stream.state()), ("2", pb::StreamState::Live));
    assert_eq!(fixture.running_stream().await.as_ref(), Some(stream));
    assert_no_action(&nginx.sync(&["2"]).await);
}
