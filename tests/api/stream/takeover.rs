use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{CONTINUE, Fixture, instruction, stop, timestamp};
use crate::harness::{Engine, Pooled, Postgres, Sqlite};

#[rstest]
#[tokio::test]
async fn a_new_publisher_ends_the_running_stream_and_begins_another(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(false, true)] live: bool,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let old = match live {
        true => fixture.node.live(&fixture.key, "a").await,
        false => fixture.begin_stream("a").await,
    };
    let before = fixture.project().await;

    let new = fixture.begin_stream("b").await;

    assert_ne!(new.id, old.id);
    assert_eq!((new.state(), new.epoch), (pb::StreamState::Connecting, 1));
    let ended = fixture.owner.stream(&old.id).await;
    assert!(timestamp(ended.end_time) > timestamp(old.last_seen_time));
    let expected = pb::Stream {
        state: pb::StreamState::Ended.into(),
        end_reason: pb::EndReason::TakenOver.into(),
        end_time: new.create_time,
        ..old
    };
    assert_eq!(ended, expected);
    let project = fixture.project().await;
    assert_eq!(project.live_stream_id, new.id);
    assert_eq!(project.revision, before.revision + 2, "an end and a begin");
    assert_eq!(fixture.count_unended().await, 1);
}

/// Predecessor's defect G4: the end of the replaced connection ended the new stream.
#[rstest]
#[tokio::test]
async fn the_replaced_connection_is_told_to_stop_and_changes_nothing(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let old = fixture.node.live(&fixture.key, "a").await;
    let new = fixture.node.live(&fixture.key, "b").await;
    let ended = fixture.owner.stream(&old.id).await;

    let heartbeat = fixture.node.heartbeat(&old, "a").await;
    let end = fixture.node.end(&old, "a").await;
    // The same from a media server that knows only the current stream of the project.
    let wrong_heartbeat = fixture.node.heartbeat(&new, "a").await;
    let wrong_end = fixture.node.end(&new, "a").await;

    let taken_over = stop(pb::EndReason::TakenOver);
    assert_eq!(instruction(&heartbeat), taken_over);
    assert_eq!(heartbeat.stream, Some(ended.clone()));
    assert_eq!(end, ended);
    assert_eq!(instruction(&wrong_heartbeat), taken_over);
    assert_eq!(wrong_heartbeat.stream, Some(new.clone()));
    assert_eq!(wrong_end, new);
    assert_eq!(fixture.owner.stream(&old.id).await, ended);
    assert_eq!(fixture.owner.stream(&new.id).await, new);
    assert_eq!(
        instruction(&fixture.node.heartbeat(&new, "b").await),
        CONTINUE
    );
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_by_its_connection_takes_nothing_over(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let live = fixture.node.live(&fixture.key, "a").await;

    let again = fixture.begin_stream("a").await;

    assert_eq!((&again.id, again.epoch), (&live.id, 1));
    assert_eq!(again.state(), pb::StreamState::Live);
}

#[rstest]
#[tokio::test]
async fn a_reconnecting_stream_is_continued_and_not_taken_over(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 60).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    fixture.node.end(&live, "a").await;

    let back = fixture.begin_stream("b").await;

    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    assert_eq!(back.state(), pb::StreamState::Live);
}

/// Destinations stay connected, so the stream that is sent to them goes on.
#[rstest]
#[tokio::test]
async fn with_the_outage_policy_hold_a_new_publisher_continues_the_running_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(false, true)] live: bool,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let request = pb::UpdateProjectRequest {
        project_id: fixture.project_id.clone(),
        outage_policy: Some(pb::OutagePolicy::Hold.into()),
        ..Default::default()
    };
    let mut projects = fixture.owner.client.project.clone();
    projects.update_project(request).await.unwrap();
    let old = match live {
        true => fixture.node.live(&fixture.key, "a").await,
        false => fixture.begin_stream("a").await,
    };
    let before = fixture.project().await;

    let new = fixture.begin_stream("b").await;

    assert_eq!((&new.id, new.epoch), (&old.id, 2));
    assert_eq!(new.state(), old.state());
    let project = fixture.project().await;
    assert_eq!(project.live_stream_id, old.id);
    assert_eq!(project.revision, before.revision + 1);
    let heartbeat = fixture.node.heartbeat(&old, "a").await;
    assert_eq!(instruction(&heartbeat), stop(pb::EndReason::TakenOver));
    assert_eq!(fixture.node.end(&old, "a").await, new);
    assert_eq!(
        instruction(&fixture.node.heartbeat(&new, "b").await),
        CONTINUE
    );
}
