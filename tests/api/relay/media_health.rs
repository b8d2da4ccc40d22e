//! Issues of the media of streams and relays.

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_projects_response::Event};

use super::fixture::{Fixture, broadcasting_report, destination_request};
use crate::harness::{Engine, MediaServer, Postgres, ProjectsWatcher, Sqlite, Watcher, eventually};

use pb::{IssueCode, MediaIssueCode, Platform};

/// What an edge measures of good media for every platform.
fn good_stats() -> pb::StreamStats {
    pb::StreamStats {
        bytes_received: 1,
        bitrate_bps: 5_000_000,
        width: 1920,
        height: 1080,
        fps: 30.0,
        video_codec: "h264".to_owned(),
        audio_codec: "aac".to_owned(),
        keyframe_interval: Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        }),
        audio_channels: 2,
        audio_sample_rate: 48_000,
        has_audio: Some(true),
        timestamp_jumps: 0,
    }
}

fn long_keyframe_interval() -> pb::StreamStats {
    pb::StreamStats {
        keyframe_interval: Some(prost_types::Duration {
            seconds: 8,
            nanos: 333_000_000,
        }),
        ..good_stats()
    }
}

async fn measure(fixture: &Fixture, stream: &pb::Stream, stats: pb::StreamStats) {
    let request = pb::HeartbeatPublishRequest {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        publisher: Some(MediaServer::connection("c1")),
        stats: Some(stats),
    };
    let mut node = fixture.node.client.stream.clone();
    node.heartbeat_publish(request).await.unwrap();
}

/// A destination of Twitch, with limits.
async fn twitch(fixture: &Fixture) -> pb::Destination {
    let request = pb::CreateDestinationRequest {
        platform: Platform::Twitch.into(),
        url: String::new(),
        ..destination_request(&fixture.project, "twitch")
    };
    fixture.create_destination(request).await
}

async fn stream(fixture: &Fixture, id: &str) -> pb::Stream {
    fixture.owner.stream(id).await
}

fn codes(issues: &[pb::MediaIssue]) -> Vec<MediaIssueCode> {
    issues.iter().map(pb::MediaIssue::code).collect()
}

/// Waits until the only relay of a stream has these issues.
async fn wait_for_relay_issues(
    fixture: &Fixture,
    live: &pb::Stream,
    expected: &[MediaIssueCode],
) -> pb::Relay {
    eventually("the relay has the issues", async || {
        let relay = fixture.relay(live).await;
        (codes(&relay.issues) == expected).then_some(relay)
    })
    .await
}

async fn wait_for_stream_issues(
    fixture: &Fixture,
    live: &pb::Stream,
    expected: &[MediaIssueCode],
) -> pb::Stream {
    eventually("the stream has the issues", async || {
        let stream = stream(fixture, &live.id).await;
        (codes(&stream.issues) == expected).then_some(stream)
    })
    .await
}

fn issues(message: &pb::WatchProjectsResponse) -> Option<Vec<pb::Issue>> {
    match &message.event {
        Some(Event::IssuesChanged(changed)) => Some(changed.issues.clone()),
        _ => None,
    }
}

#[rstest]
#[tokio::test]
async fn media_beyond_the_limits_of_a_platform_is_an_issue_of_its_relay_until_it_is_within(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = twitch(&fixture).await;
    let live = fixture.live("c1").await;
    // So that nothing is wrong but the media.
    let _worker = fixture.worker("w1").await;
    let owner = &fixture.owner.client;
    let id = &*fixture.project.id;
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &[(id, 0)]).await;

    measure(&fixture, &live, long_keyframe_interval()).await;
    let raised = watcher.find(id, issues).await;
    let relay = fixture.relay(&live).await;
    assert_eq!(
        codes(&relay.issues),
        [MediaIssueCode::KeyframeIntervalTooLong]
    );
    let detail = &relay.issues[0].detail;
    assert!(
        detail.contains("8.333 s") && detail.contains("Twitch recommends 2 s"),
        "{detail}"
    );
    let expected = pb::Issue {
        code: IssueCode::KeyframeIntervalTooLong.into(),
        severity: pb::IssueSeverity::Warning.into(),
        since: relay.issues[0].since,
        detail: detail.clone(),
        stream_id: live.id.clone(),
        destination_id: destination.id.clone(),
    };
    assert_eq!(raised, [expected]);

    measure(&fixture, &live, good_stats()).await;
    assert_eq!(watcher.find(id, issues).await, []);
    wait_for_relay_issues(&fixture, &live, &[]).await;
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn each_issue_of_a_relay_follows_from_its_measurement(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    twitch(&fixture).await;
    let live = fixture.live("c1").await;
    let _worker = fixture.worker("w1").await;
    for (stats, expected) in [
        (
            pb::StreamStats {
                bitrate_bps: 9_000_000,
                ..good_stats()
            },
            MediaIssueCode::BitrateOverLimit,
        ),
        (
            pb::StreamStats {
                video_codec: "hevc".to_owned(),
                ..good_stats()
            },
            MediaIssueCode::CodecNotAccepted,
        ),
        (
            long_keyframe_interval(),
            MediaIssueCode::KeyframeIntervalTooLong,
        ),
    ] {
        measure(&fixture, &live, stats).await;
        wait_for_relay_issues(&fixture, &live, &[expected]).await;
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_without_audio_or_with_jumping_timestamps_has_issues_until_its_end(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.live("c1").await;
    let (_, mut watcher) = Watcher::start_synced(&fixture.owner.client, &fixture.project.id).await;
    let bad = pb::StreamStats {
        has_audio: Some(false),
        timestamp_jumps: 3,
        ..good_stats()
    };
    measure(&fixture, &live, bad.clone()).await;

    let both = [MediaIssueCode::NoAudio, MediaIssueCode::TimestampJump];
    let event = watcher.event().await;
    let pb::watch_project_response::Event::StreamChanged(changed) = event else {
        panic!("{event:?}");
    };
    assert_eq!(codes(&changed.issues), both);
    let read = wait_for_stream_issues(&fixture, &live, &both).await;
    assert_eq!(read.issues, changed.issues);
    assert_eq!(read.stats, Some(bad));

    fixture.stop_stream(&live).await;
    assert_eq!(stream(&fixture, &live.id).await.issues, []);
}

#[rstest]
#[tokio::test]
async fn a_destination_that_is_too_slow_is_an_issue_for_a_minute(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    measure(&fixture, &live, good_stats()).await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 1_000))
        .await;
    // One that changes the state, and one that only renews the lease.
    for (bytes_sent, dropped_packets) in [(2_000, 40), (3_000, 90)] {
        let report = pb::RelayReport {
            lag_ms: 3_900,
            dropped_packets,
            retransmitted_segments: 7,
            ..broadcasting_report(&assignment, bytes_sent)
        };
        worker.expect_accepted(report).await;
        let relay = fixture.relay(&live).await;
        assert_eq!(
            (
                relay.lag_ms,
                relay.dropped_packets,
                relay.retransmitted_segments
            ),
            (3_900, dropped_packets, 7)
        );
    }
    let slow = [MediaIssueCode::DestinationTooSlow];
    let relay = wait_for_relay_issues(&fixture, &live, &slow).await;
    assert!(
        relay.issues[0].detail.contains("packets were dropped"),
        "{relay:?}"
    );

    fixture.backdate("last_drop_time").await;
    wait_for_relay_issues(&fixture, &live, &[]).await;
}

#[rstest]
#[tokio::test]
async fn statistics_show_how_well_a_relay_delivers(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let id = &*fixture.project.id;
    let (_, _, worker, assignment) = fixture.claimed_relay().await;
    let owner = &fixture.owner.client;
    let watcher = ProjectsWatcher::start_with(owner, &[(id, 0)], true).await;
    let mut watcher = watcher.unwrap();
    let report = pb::RelayReport {
        lag_ms: 1_200,
        dropped_packets: 4,
        retransmitted_segments: 5,
        ..broadcasting_report(&assignment, 1_000)
    };
    worker.expect_accepted(report).await;

    let stats = watcher.find(id, |message| match &message.event {
        Some(Event::Stats(stats)) if stats.relays[0].bytes_sent > 0 => Some(stats.clone()),
        _ => None,
    });
    let stats = stats.await.relays.remove(0);
    assert_eq!(
        (
            stats.lag_ms,
            stats.dropped_packets,
            stats.retransmitted_segments
        ),
        (1_200, 4, 5)
    );
}

#[rstest]
#[tokio::test]
async fn a_snapshot_has_the_issues_and_a_stopped_relay_has_none(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = twitch(&fixture).await;
    let live = fixture.live("c1").await;
    // So that nothing is wrong but the media.
    let _worker = fixture.worker("w1").await;
    let bad = pb::StreamStats {
        has_audio: Some(false),
        ..long_keyframe_interval()
    };
    measure(&fixture, &live, bad).await;
    let keyframes = [MediaIssueCode::KeyframeIntervalTooLong];
    let relay = wait_for_relay_issues(&fixture, &live, &keyframes).await;
    let read = wait_for_stream_issues(&fixture, &live, &[MediaIssueCode::NoAudio]).await;

    let owner = &fixture.owner.client;
    let (snapshot, _) = Watcher::start_synced(owner, &fixture.project.id).await;
    assert_eq!(snapshot.stream.unwrap().issues, read.issues);
    assert_eq!(snapshot.relays[0].issues, relay.issues);

    let stopped = fixture.stop_relay(&live, &destination).await;
    assert_eq!(stopped.issues, []);
}
