use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_project_response::Event};

use super::{
    changes::{
        add_destination, delete_project, next_destination_changed, next_project_updated,
        next_stream_changed, rename,
    },
    fixture::{Fixture, state},
};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, Sqlite, Watcher};

use pb::{EndReason, StreamState};

#[rstest]
#[tokio::test]
async fn a_watch_begins_with_a_snapshot_of_the_project(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let (snapshot, _) = Watcher::start_synced(owner, id).await;
    assert_eq!(snapshot.project, Some(fixture.project().await));
    assert_eq!((snapshot.destinations.len(), snapshot.stream), (0, None));

    let first = add_destination(owner, id).await;
    let second = add_destination(owner, id).await;
    let ended = fixture.begin_stream("a").await;
    fixture.stop(&ended, 0).await;
    let live = fixture.begin_live_stream("b").await;

    let (snapshot, watcher) = Watcher::start_synced(owner, id).await;
    let project = fixture.project().await;
    assert_eq!(watcher.revision, project.revision);
    assert_eq!(snapshot.project, Some(project));
    assert_eq!(snapshot.destinations, [second, first], "newest first");
    assert_eq!(snapshot.stream, Some(live));
}

#[rstest]
#[tokio::test]
async fn every_change_is_sent_as_an_event_with_its_result(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    let revision = rename(owner, id, "Renamed").await;
    let updated = next_project_updated(&mut watcher).await;
    assert_eq!(
        (updated.display_name.as_str(), updated.revision),
        ("Renamed", revision)
    );
    assert_eq!(updated, fixture.project().await);

    let destination = add_destination(owner, id).await;
    let change = next_destination_changed(&mut watcher).await;
    assert_eq!(change.destination_id, destination.id);
    assert_eq!(change.destination, Some(destination.clone()));

    let request = pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    let answer = owner.project.clone().update_destination(request).await;
    let change = next_destination_changed(&mut watcher).await;
    assert_eq!(change.destination, answer.unwrap().into_inner().destination);

    let request = pb::DeleteDestinationRequest {
        destination_id: destination.id.clone(),
        ..Default::default()
    };
    let answer = owner.project.clone().delete_destination(request).await;
    answer.unwrap();
    let change = next_destination_changed(&mut watcher).await;
    assert_eq!(
        (change.destination_id, change.destination),
        (destination.id, None)
    );

    let begun = fixture.begin_stream("a").await;
    assert_eq!(next_stream_changed(&mut watcher).await, begun);
    let live = fixture.node.heartbeat(&begun, "a").await.stream.unwrap();
    assert_eq!(next_stream_changed(&mut watcher).await, live);
    // These are no changes, and send no events.
    fixture.node.heartbeat(&live, "a").await;
    fixture.begin_stream("a").await;
    let waiting = fixture.node.end(&live, "a").await;
    assert_eq!(next_stream_changed(&mut watcher).await, waiting);
    let back = fixture.begin_stream("b").await;
    assert_eq!(next_stream_changed(&mut watcher).await, back);
    let stopped = fixture.stop(&back, 0).await;
    assert_eq!(next_stream_changed(&mut watcher).await, stopped);
    assert_eq!(watcher.revision, fixture.project().await.revision);
}

#[rstest]
#[tokio::test]
async fn a_key_rotation_is_followed_by_the_end_of_the_stream_that_used_the_key(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let live = fixture.begin_live_stream("a").await;
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    let request = pb::RotateStreamKeyRequest {
        project_id: id.clone(),
        grace: None,
        ..Default::default()
    };
    let answer = owner.project.clone().rotate_stream_key(request).await;
    let rotated = answer.unwrap().into_inner();

    let updated = next_project_updated(&mut watcher).await;
    let ended = next_stream_changed(&mut watcher).await;
    let hint = rotated.project.unwrap().stream_key_hint;
    assert_eq!(updated.stream_key_hint, hint);
    assert!(!format!("{updated:?}").contains(&rotated.stream_key));
    assert_eq!(ended.id, live.id);
    assert_eq!(state(&ended), (StreamState::Ended, EndReason::KeyRotated));
    assert_eq!(watcher.revision, fixture.project().await.revision);
}

#[rstest]
#[tokio::test]
async fn a_takeover_is_sent_as_the_end_of_one_stream_and_the_begin_of_another(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let old = fixture.begin_live_stream("a").await;
    let (_, mut watcher) = Watcher::start_synced(&fixture.owner.client, &fixture.project_id).await;

    let new = fixture.begin_stream("b").await;

    let ended = next_stream_changed(&mut watcher).await;
    assert_eq!(
        (&ended.id, ended.end_reason()),
        (&old.id, EndReason::TakenOver)
    );
    assert_eq!(next_stream_changed(&mut watcher).await, new);
}

#[rstest]
#[tokio::test]
async fn the_update_of_a_disabled_project_is_sent_before_the_end_of_its_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    fixture.begin_live_stream("a").await;
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    let request = pb::UpdateProjectRequest {
        project_id: id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    owner.project.clone().update_project(request).await.unwrap();

    assert!(next_project_updated(&mut watcher).await.disabled);
    let ended = next_stream_changed(&mut watcher).await;
    let disabled = (StreamState::Ended, EndReason::ProjectDisabled);
    assert_eq!(state(&ended), disabled);
}

#[rstest]
#[tokio::test]
async fn the_deletion_of_a_project_is_sent_last_after_the_end_of_its_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    fixture.begin_live_stream("a").await;
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    delete_project(owner, id).await;

    let ended = next_stream_changed(&mut watcher).await;
    let deleted = (StreamState::Ended, EndReason::ProjectDeleted);
    assert_eq!(state(&ended), deleted);
    let gone = Event::ProjectDeleted(pb::ProjectDeleted {});
    assert_eq!(watcher.change().await.unwrap(), gone);
    let last = watcher.revision;
    let (refusal, told) = watcher.wait_for_end().await;
    let not_found = (tonic::Code::NotFound, "RESOURCE_NOT_FOUND");
    assert_eq!((refusal.class(), told), (not_found, last));
}

#[rstest]
#[tokio::test]
async fn a_watch_resumes_after_a_revision_and_says_when_it_is_synced(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let begin = fixture.project().await.revision;
    for number in 1..=5 {
        rename(owner, id, &format!("Name {number}")).await;
    }

    for missed in 0..=5 {
        let mut watcher = Watcher::resume(owner, id, begin + missed).await.unwrap();
        for number in missed + 1..=5 {
            let name = next_project_updated(&mut watcher).await.display_name;
            assert_eq!(name, format!("Name {number}"));
        }
        let synced = watcher.next().await;
        assert_eq!(synced.revision, begin + 5);
        assert_eq!(synced.event, Some(Event::Synced(pb::WatchSynced {})));
        assert_eq!(synced.create_time, None);
    }
}

#[rstest]
#[tokio::test]
async fn an_idle_watch_sends_heartbeats_with_the_latest_revision(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &["--watch-heartbeat=20ms"]).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    for _ in 0..3 {
        let revision = fixture.project().await.revision;
        for _ in 0..3 {
            let heartbeat = watcher.next().await;
            assert_eq!(heartbeat.revision, revision);
            assert_eq!(
                heartbeat.event,
                Some(Event::Heartbeat(pb::WatchHeartbeat {}))
            );
            assert_eq!(heartbeat.create_time, None);
        }
        rename(owner, id, "Renamed").await;
        next_project_updated(&mut watcher).await;
    }
}

#[rstest]
#[tokio::test]
async fn a_watcher_sees_its_project_and_no_other(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let (other, other_key) = fixture.owner.project().await;
    let (_, mut watcher) = Watcher::start_synced(owner, &fixture.project_id).await;
    let (_, mut of_other) = Watcher::start_synced(owner, &other.id).await;

    let stream = fixture.node.live(&other_key, "a").await;
    rename(owner, &fixture.project_id, "Renamed").await;

    assert_eq!(
        next_project_updated(&mut watcher).await.display_name,
        "Renamed"
    );
    assert_eq!(next_stream_changed(&mut of_other).await.id, stream.id);
}

/// Statistics and the last seen time change with every heartbeat.
#[rstest]
#[tokio::test]
async fn heartbeats_of_publishers_send_no_events_but_a_snapshot_shows_the_latest(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let live = fixture.begin_live_stream("a").await;
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    let publisher = MediaServer::connection("a");
    let answer = fixture
        .heartbeat_from(&live, publisher, super::fixture::stats_with_bytes(9))
        .await;

    let (snapshot, _) = Watcher::start_synced(owner, id).await;
    assert_eq!(snapshot.stream, answer.stream);
    rename(owner, id, "Renamed").await;
    next_project_updated(&mut watcher).await;
}

#[rstest]
#[tokio::test]
async fn the_snapshot_contains_the_relays_of_the_running_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let destination = add_destination(owner, id).await;
    let stream = fixture.begin_stream("a").await;
    fixture
        .server
        .database
        .execute(
            "delete from relays;
             insert into relays
                 (stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
                  bytes_sent, bitrate_bps, error_code, error_severity, error_message,
                  update_time)
             select s.id, d.id, s.project_id, true, 'failed', 3, s.create_time, 7, 9, 'REFUSED',
                    'fatal', 'refused', s.create_time
             from streams s, destinations d;",
        )
        .await;

    let (snapshot, _) = Watcher::start_synced(owner, id).await;

    let expected = pb::Relay {
        stream_id: stream.id,
        destination_id: destination.id,
        desired_state: pb::RelayDesiredState::Started.into(),
        state: pb::RelayState::Failed.into(),
        attempt: 3,
        bytes_sent: 7,
        bitrate_bps: 9,
        error: Some(pb::RelayError {
            code: "REFUSED".to_owned(),
            severity: pb::RelayErrorSeverity::Fatal.into(),
            message: "refused".to_owned(),
        }),
        update_time: stream.create_time,
        ..Default::default()
    };
    assert_eq!(snapshot.relays, [expected]);
}
