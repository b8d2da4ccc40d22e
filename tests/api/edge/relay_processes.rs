use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sluice::proto::v1::{self as pb, RelayErrorSeverity, RelayState};

use super::{
    relay_fixture::RelayFixture,
    stub_ffmpeg::{is_running, wait_for_exit},
};
use crate::{
    harness::{Signal, eventually, send_signal},
    relay::fixture::{STARTED, destination_request},
};

#[tokio::test]
async fn a_relay_over_srt_is_one_process_that_is_passed_no_key() {
    let fixture = RelayFixture::start().await;
    let mut edge = fixture.edge(&[]);
    let (stream, _, pid) = fixture.running_relay().await;

    let relay = fixture.wait_for_state(&stream, RelayState::Starting).await;
    assert!(!relay.worker_id.is_empty());
    let lines = fixture.ffmpeg.command_lines();
    assert!(lines.contains("-c copy"), "{lines}");
    let environment = fixture.ffmpeg.environment();
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_for_exit().await, Some(0));
    assert!(!is_running(pid));
    let secrets = [
        "key-of-a",
        "public-name",
        &fixture.api_key,
        &fixture.control_plane.key,
    ];
    for said in [lines, environment, edge.log()] {
        for secret in secrets {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[tokio::test]
async fn a_relay_process_does_not_inherit_the_settings_of_the_edge() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[("PATH", "/usr/bin:/bin")]);
    fixture.running_relay().await;

    let environment = fixture.ffmpeg.environment();
    assert!(environment.contains("PATH=/usr/bin:/bin"), "{environment}");
    assert!(!environment.contains("SLUICE"), "{environment}");
}

#[tokio::test]
async fn reports_renew_the_lease_of_a_relay() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[]);
    let (_, _, pid) = fixture.running_relay().await;

    fixture.wait_for_renewal(7).await;
    assert!(is_running(pid));
    assert_eq!(fixture.ffmpeg.pids().len(), 1);
}

#[tokio::test]
async fn stopping_a_relay_ends_its_process_and_starting_it_runs_a_new_one() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[]);
    let (stream, destination, first) = fixture.running_relay().await;

    fixture
        .control_plane
        .stop_relay(&stream, &destination)
        .await;
    wait_for_exit(first).await;
    let idle = fixture.wait_for_state(&stream, RelayState::Idle).await;
    assert_eq!((idle.worker_id.as_str(), idle.error), ("", None));

    fixture
        .control_plane
        .start_relay(&stream, &destination)
        .await;
    let second = fixture.ffmpeg.wait_for_start(2).await;
    assert!(is_running(second));
    fixture.wait_for_state(&stream, RelayState::Starting).await;
}

#[tokio::test]
async fn stopping_one_relay_does_not_affect_another() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[]);
    let (stream, _, first) = fixture.running_relay().await;
    let other = fixture.destination("b").await;
    fixture.control_plane.start_relay(&stream, &other).await;
    let second = fixture.ffmpeg.wait_for_start(2).await;

    fixture.control_plane.stop_relay(&stream, &other).await;
    wait_for_exit(second).await;
    assert!(is_running(first));
}

#[tokio::test]
async fn a_changed_stream_key_restarts_the_process() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[]);
    let (_, destination, first) = fixture.running_relay().await;

    let update = pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        stream_key: Some("another-key".to_owned()),
        ..Default::default()
    };
    fixture.control_plane.update_destination(update).await;
    wait_for_exit(first).await;
    assert!(is_running(fixture.ffmpeg.wait_for_start(2).await));
}

#[tokio::test]
async fn a_passphrase_is_in_a_file_that_only_the_edge_can_read_and_shown_nowhere() {
    let fixture = RelayFixture::start().await;
    let edge = fixture.edge(&[]);
    let request = pb::CreateDestinationRequest {
        url: "srt://127.0.0.1:9".to_owned(),
        srt_passphrase: "correct horse".to_owned(),
        ..destination_request(&fixture.control_plane.project, "a")
    };
    fixture.control_plane.create_destination(request).await;
    fixture.begin_live_stream().await;
    let pid = fixture.ffmpeg.wait_for_start(1).await;

    let lines = fixture.ffmpeg.command_lines();
    let mut words = lines.split_whitespace().skip_while(|word| *word != "-fpre");
    let file = words.nth(1).expect("options are in a file");
    let options = fs::read_to_string(file).unwrap();
    assert!(options.contains("passphrase=correct horse\n"), "{options}");
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for said in [&lines, &fixture.ffmpeg.environment(), &edge.log()] {
        assert!(!said.contains("correct horse"), "{said}");
    }

    send_signal(pid, Signal::KILL);
    fixture.ffmpeg.wait_for_start(2).await;
    assert!(!Path::new(file).exists());
}

#[tokio::test]
async fn a_relay_whose_process_fails_is_retried() {
    let fixture = RelayFixture::start().await;
    fixture.ffmpeg.set_behavior("fails");
    let _edge = fixture.edge(&[]);
    fixture.destination("a").await;
    let stream = fixture.begin_live_stream().await;

    let failed = eventually("it fails for the third time", async || {
        let relay = fixture.control_plane.relay(&stream).await;
        let is_third = relay.state() == RelayState::Retrying && relay.attempt >= 3;
        is_third.then_some(relay)
    })
    .await;
    assert!(failed.next_retry_time.is_some());
    let error = failed.error.unwrap();
    assert_eq!(error.code, "FFMPEG_FAILED");
    assert_eq!(error.severity(), RelayErrorSeverity::Retryable);
    assert_eq!(error.message, "ffmpeg failed: [error] rtmp://*** no luck");

    fixture.ffmpeg.set_behavior("runs");
    fixture.wait_for_state(&stream, RelayState::Starting).await;
}

#[tokio::test]
async fn a_relay_whose_process_is_killed_is_retried() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[]);
    let (stream, _, first) = fixture.running_relay().await;

    send_signal(first, Signal::KILL);
    let second = fixture.ffmpeg.wait_for_start(2).await;
    assert!(is_running(second));
    let relay = fixture.wait_for_state(&stream, RelayState::Starting).await;
    assert_eq!((relay.desired_state(), relay.attempt), (STARTED, 1));
    assert_eq!(relay.error.unwrap().code, "FFMPEG_KILLED");
}

#[tokio::test]
async fn a_relay_without_media_is_ended_and_retried() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[("SLUICE_RELAY_PROGRESS_TIMEOUT", "1s")]);
    let (stream, _, first) = fixture.running_relay().await;

    wait_for_exit(first).await;
    let relay = eventually("the error is reported", async || {
        let relay = fixture.control_plane.relay(&stream).await;
        relay.error.is_some().then_some(relay)
    })
    .await;
    // Nothing listens where the media should be. On a busy machine that is found too late.
    let code = relay.error.unwrap().code;
    assert!(["INPUT_LOST", "NO_PROGRESS"].contains(&&*code), "{code}");
    fixture.ffmpeg.wait_for_start(2).await;
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed() {
    let fixture = RelayFixture::start().await;
    fixture.ffmpeg.set_behavior("stubborn");
    let _edge = fixture.edge(&[]);
    let (stream, destination, pid) = fixture.running_relay().await;

    fixture
        .control_plane
        .stop_relay(&stream, &destination)
        .await;
    wait_for_exit(pid).await;
    fixture.wait_for_state(&stream, RelayState::Idle).await;
}

#[tokio::test]
async fn without_ffmpeg_a_relay_fails_permanently() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[("SLUICE_FFMPEG", "/nowhere/ffmpeg")]);
    fixture.destination("a").await;
    let stream = fixture.begin_live_stream().await;

    let failed = fixture.wait_for_state(&stream, RelayState::Failed).await;
    let error = failed.error.unwrap();
    assert_eq!(error.code, "FFMPEG_MISSING");
    assert_eq!(error.severity(), RelayErrorSeverity::Fatal);
}

#[tokio::test]
async fn no_more_relays_run_than_the_capacity_allows() {
    let fixture = RelayFixture::start().await;
    let _edge = fixture.edge(&[("SLUICE_RELAY_CAPACITY", "1")]);
    let (stream, _, first) = fixture.running_relay().await;
    let destinations = [
        fixture.destination("b").await,
        fixture.destination("c").await,
    ];
    for destination in &destinations {
        fixture
            .control_plane
            .start_relay(&stream, destination)
            .await;
    }

    // Any of the three may run first; each that ends makes room for the next.
    send_signal(first, Signal::KILL);
    let second = fixture.ffmpeg.wait_for_start(2).await;
    assert!(!is_running(first));
    send_signal(second, Signal::KILL);
    let third = fixture.ffmpeg.wait_for_start(3).await;
    assert!(!is_running(second) && is_running(third));
}

#[tokio::test]
async fn an_edge_releases_its_relays_on_sigterm() {
    let fixture = RelayFixture::start().await;
    let mut edge = fixture.edge(&[]);
    let (stream, _, pid) = fixture.running_relay().await;

    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_for_exit().await, Some(0));
    assert!(!is_running(pid));
    let relay = fixture.control_plane.relay(&stream).await;
    assert_eq!(relay.state(), RelayState::Idle);
    assert_eq!(relay.worker_id, "");
}

#[tokio::test]
async fn a_killed_edge_leaves_no_process_and_the_next_edge_takes_over() {
    let fixture = RelayFixture::start().await;
    // Only SIGKILL can end such a process.
    fixture.ffmpeg.set_behavior("stubborn");
    let mut edge = fixture.edge(&[]);
    let (stream, _, first) = fixture.running_relay().await;
    let before = fixture.wait_for_state(&stream, RelayState::Starting).await;

    edge.signal(Signal::KILL);
    edge.wait_for_exit().await;
    wait_for_exit(first).await;

    let _next = fixture.edge(&[]);
    assert!(is_running(fixture.ffmpeg.wait_for_start(2).await));
    let after = fixture.wait_for_state(&stream, RelayState::Starting).await;
    assert_ne!(after.worker_id, before.worker_id);
}
