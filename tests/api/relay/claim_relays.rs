//! ClaimRelays: assignments to workers.

use std::time::Duration;

use rstest::rstest;
use sluice::{
    auth::{AssociatedData, Keys},
    domain::{Scope, now},
    proto::v1 as pb,
};
use tonic::Code;
use uuid::Uuid;

use super::fixture::{
    Fixture, STARTED, Worker, broadcasting_report, destination_request, state, state_report,
};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, config, refused};
use pb::RelayState::Starting;

#[rstest]
#[tokio::test]
async fn a_claimed_relay_comes_with_everything_its_worker_needs(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let before = fixture.revision().await;

    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(1).await.remove(0);

    let relay = fixture.relay(&live).await;
    assert_eq!(assigned.relay, Some(relay.clone()));
    assert_eq!(state(&relay), (STARTED, Starting));
    assert_eq!(relay.destination_id, destination.id);
    assert_eq!(relay.worker_id, "w1");
    assert_eq!(assigned.connection_id, "c1");
    assert_eq!(assigned.input_url, "");
    assert_eq!(assigned.output_url, "rtmp://live.example.com/app/key-of-a");
    assert_eq!(assigned.output_server_url, "rtmp://live.example.com/app");
    assert_eq!(assigned.output_stream_key, "key-of-a");
    assert_eq!((&*assigned.srt_passphrase, assigned.srt_pbkeylen), ("", 0));
    assert_eq!(
        assigned.output_delay,
        Some(prost_types::Duration::default())
    );
    let leased = assigned.lease_expire_time.unwrap().seconds - relay.update_time.unwrap().seconds;
    assert_eq!(leased, 15);
    let left = assigned.lease_duration.unwrap().seconds;
    assert!((10..=15).contains(&left), "{left}");
    assert_eq!(fixture.revision().await, before + 1);
    fixture.assert_no_missing_events().await;
}

/// Joined and split at the last slash, each of these would go out under other names.
#[rstest]
#[tokio::test]
async fn a_worker_gets_the_address_and_the_key_apart(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let cases = [
        (
            "rtmp://far.example.com/live",
            "abc/def==",
            "rtmp://far.example.com/live",
        ),
        (
            "rtmp://far.example.com/app/inst?user=a&pass=b",
            "key",
            "rtmp://far.example.com/app/inst?user=a&pass=b",
        ),
        (
            "rtmps://far.example.com/rtmp/",
            "FB-1?s_bl=1&a=A/b",
            "rtmps://far.example.com/rtmp",
        ),
        (
            "srt://far.example.com:9000?latency=20",
            "#!::r=a/b,m=publish",
            "srt://far.example.com:9000?latency=20",
        ),
    ];
    let mut expected = Vec::new();
    for (url, key, server_url) in cases {
        let request = pb::CreateDestinationRequest {
            url: url.to_owned(),
            stream_key: key.to_owned(),
            ..destination_request(&fixture.project, "a")
        };
        let made = fixture.create_destination(request).await;
        expected.push((made.id, server_url.to_owned(), key.to_owned()));
    }
    fixture.live("c1").await;

    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(cases.len()).await;

    let assigned = assigned.into_iter().map(|one| {
        let destination_id = one.relay.unwrap().destination_id;
        (destination_id, one.output_server_url, one.output_stream_key)
    });
    let mut assigned: Vec<_> = assigned.collect();
    assigned.sort();
    expected.sort();
    assert_eq!(assigned, expected);
}

#[rstest]
#[tokio::test]
async fn another_delay_starts_a_running_relay_again_with_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let request = pb::CreateDestinationRequest {
        delay: seconds(30),
        ..destination_request(&fixture.project, "a")
    };
    let destination = fixture.create_destination(request).await;
    fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let mut assigned = worker.next_assignments(1).await.remove(0);
    assert_eq!(assigned.output_delay, seconds(30));

    for delay in [seconds(60), seconds(0)] {
        let change = pb::UpdateDestinationRequest {
            destination_id: destination.id.clone(),
            delay,
            ..Default::default()
        };
        fixture.update_destination(change.clone()).await;
        assert_eq!(worker.next_revocations().await, [assigned.lease_id.clone()]);
        worker
            .expect_accepted(state_report(&assigned, pb::RelayState::Idle, 0))
            .await;
        assigned = worker.next_assignments(1).await.remove(0);
        assert_eq!(assigned.output_delay, delay);

        // The same delay changes nothing.
        fixture.update_destination(change).await;
        worker
            .expect_accepted(broadcasting_report(&assigned, 9))
            .await;
    }
}

#[rstest]
#[tokio::test]
async fn a_relay_whose_video_is_encoded_counts_as_ten(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let limited = pb::CreateDestinationRequest {
        max_video_bitrate_kbps: 2_500,
        max_height: 720,
        ..destination_request(&fixture.project, "limited")
    };
    let limited = fixture.create_destination(limited).await;
    for name in ["a", "b", "c"] {
        fixture.destination(name).await;
    }
    fixture.live("c1").await;

    let mut large = fixture.worker_with("large", "", 11).await;
    let assigned = large.next_assignments(2).await;
    let limits = |assigned: &pb::RelayAssignment| {
        let id = assigned.relay.clone().unwrap().destination_id;
        (
            id == limited.id,
            assigned.max_video_bitrate_kbps,
            assigned.max_height,
        )
    };
    let limits: Vec<_> = assigned.iter().map(limits).collect();
    assert!(limits.contains(&(true, 2_500, 720)), "{limits:?}");
    assert!(limits.contains(&(false, 0, 0)), "{limits:?}");
    let mut other = fixture.worker_with("other", "", 1000).await;
    assert_eq!(other.next_assignments(2).await.len(), 2, "the others");
}

#[rstest]
#[tokio::test]
async fn a_worker_with_too_little_capacity_to_encode_takes_other_relays(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let limited = pb::CreateDestinationRequest {
        max_height: 720,
        ..destination_request(&fixture.project, "limited")
    };
    fixture.create_destination(limited).await;
    let plain = fixture.destination("plain").await;
    let live = fixture.live("c1").await;

    let mut small = fixture.worker_with("small", "", 9).await;
    let assigned = small.next_assignments(1).await.remove(0);
    assert_eq!(assigned.relay.unwrap().destination_id, plain.id);
    fixture.assert_not_assigned(&mut small, &live).await;
    let mut large = fixture.worker_with("large", "", 10).await;
    assert_eq!(large.next_assignments(1).await[0].max_height, 720);
}

#[rstest]
#[tokio::test]
async fn the_passphrase_of_an_srt_destination_is_decrypted_for_the_worker(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let request = pb::CreateDestinationRequest {
        url: "srt://far.example.com:9000".to_owned(),
        srt_passphrase: "correct horse".to_owned(),
        srt_pbkeylen: 32,
        ..destination_request(&fixture.project, "a")
    };
    let destination = fixture.create_destination(request).await;
    fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(1).await.remove(0);
    assert_eq!(assigned.srt_passphrase, "correct horse");
    assert_eq!(assigned.srt_pbkeylen, 32);
    assert!(!assigned.output_url.contains("horse"));

    for (change, passphrase, pbkeylen) in [
        (
            pb::UpdateDestinationRequest {
                srt_passphrase: Some("battery staple".to_owned()),
                ..Default::default()
            },
            "battery staple",
            32,
        ),
        (
            pb::UpdateDestinationRequest {
                srt_pbkeylen: Some(16),
                ..Default::default()
            },
            "battery staple",
            16,
        ),
        (
            pb::UpdateDestinationRequest {
                srt_passphrase: Some(String::new()),
                ..Default::default()
            },
            "",
            0,
        ),
    ] {
        let change = pb::UpdateDestinationRequest {
            destination_id: destination.id.clone(),
            ..change
        };
        fixture.update_destination(change).await;
        let revoked = worker.next_revocations().await.remove(0);
        let held = pb::RelayAssignment {
            lease_id: revoked,
            ..Default::default()
        };
        worker
            .expect_accepted(state_report(&held, pb::RelayState::Idle, 0))
            .await;
        let again = worker.next_assignments(1).await.remove(0);
        assert_eq!(
            (&*again.srt_passphrase, again.srt_pbkeylen),
            (passphrase, pbkeylen)
        );
    }
}

#[rstest]
#[tokio::test]
async fn a_waiting_worker_is_assigned_relays_of_a_stream_that_goes_live(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    let mut worker = fixture.worker("w1").await;
    let first = worker.next().await.unwrap();
    assert_eq!(first, pb::ClaimRelaysResponse::default(), "a sign of life");

    fixture.live("c1").await;

    worker.next_assignments(1).await;
}

#[rstest]
#[tokio::test]
async fn the_play_url_is_decrypted_for_the_worker(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    let keys = Keys::load(&config(&fixture.server.database, &[]).keys()).unwrap();
    let id = Uuid::now_v7();
    let sealed = keys
        .sealer
        .seal(&AssociatedData::play_url(id), b"rtmp://10.0.0.5/live/k");
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let (id, sealed) = match engine {
        Sqlite => (
            format!("x'{}'", id.simple()),
            format!("x'{}'", hex(&sealed)),
        ),
        Postgres | Pooled => (format!("'{id}'"), format!("'\\x{}'", hex(&sealed))),
    };
    let live = fixture.node.begin(&fixture.key, "c1").await.unwrap();
    let statement = format!("update streams set play_url_id = {id}, play_url_sealed = {sealed}");
    fixture.server.database.execute(&statement).await;
    fixture
        .node
        .heartbeat(&live.into_inner().stream.unwrap(), "c1")
        .await;

    let assigned = fixture.worker("w1").await.next_assignments(1).await;

    assert_eq!(assigned[0].input_url, "rtmp://10.0.0.5/live/k");
}

#[rstest]
#[tokio::test]
async fn a_relay_with_an_unreadable_stream_key_is_retried_and_blocks_no_other(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    let garbage = match engine {
        Sqlite => "x'00'",
        Postgres | Pooled => "'\\x00'",
    };
    let statement = format!("update destinations set stream_key_sealed = {garbage}");
    fixture.server.database.execute(&statement).await;
    let good = fixture.destination("b").await;
    let live = fixture.live("c1").await;

    let assigned = fixture.worker("w1").await.next_assignments(1).await;

    assert_eq!(assigned[0].relay.as_ref().unwrap().destination_id, good.id);
    let failed = fixture.relays(&live).await.remove(0);
    assert_eq!(failed.state(), pb::RelayState::Retrying);
    let error = failed.error.unwrap();
    let retryable = pb::RelayErrorSeverity::Retryable;
    assert_eq!(
        (&*error.code, error.severity()),
        ("KEY_UNREADABLE", retryable)
    );
}

#[rstest]
#[tokio::test]
async fn a_relay_with_an_unreadable_play_url_is_retried(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    let begun = fixture.node.begin(&fixture.key, "c1").await.unwrap();
    let begun = begun.into_inner().stream.unwrap();
    let garbage = match engine {
        Sqlite => format!(
            "play_url_id = x'{}', play_url_sealed = x'00'",
            Uuid::now_v7().simple()
        ),
        Postgres | Pooled => format!(
            "play_url_id = '{}', play_url_sealed = '\\x00'",
            Uuid::now_v7()
        ),
    };
    let statement = format!("update streams set {garbage}");
    fixture.server.database.execute(&statement).await;
    let live = fixture.node.heartbeat(&begun, "c1").await.stream.unwrap();
    let _worker = fixture.worker("w1").await;

    let failed = fixture
        .wait_for_state(&live, pb::RelayState::Retrying)
        .await;

    assert_eq!(failed.error.unwrap().code, "PLAY_URL_UNREADABLE");
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_worker_is_assigned_no_more_relays_than_its_capacity(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    for name in ["a", "b", "c"] {
        fixture.destination(name).await;
    }
    fixture.live("c1").await;

    let mut small = fixture.worker_with("small", "", 2).await;
    let given = small.next_assignments(2).await;
    // A second claim of the same worker gets no further relays.
    let mut again = fixture.worker_with("small", "", 2).await;
    let first = again.next().await.unwrap();
    assert_eq!(first.assignments, []);
    let mut other = fixture.worker_with("other", "", 1).await;
    other.next_assignments(1).await;

    let stopped = pb::RelayReport {
        state: pb::RelayState::Idle.into(),
        ..broadcasting_report(&given[0], 0)
    };
    drop(small);
    again.expect_accepted(stopped).await;
    again.next_assignments(1).await;
}

#[rstest]
#[tokio::test]
async fn a_worker_of_a_node_is_assigned_only_streams_of_that_node(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("here").await;
    let mut here = fixture.worker_with("here", "n1", 10).await;
    let mut there = fixture.worker_with("there", "n2", 10).await;

    fixture.live("c1").await;
    here.next_assignments(1).await;
    let (project, key) = fixture.owner.project().await;
    let elsewhere = fixture
        .create_destination(destination_request(&project, "there"))
        .await;
    let publisher = pb::Publisher {
        node_id: "n2".to_owned(),
        ..crate::harness::MediaServer::connection("c2")
    };
    let request = pb::BeginPublishRequest {
        stream_key: key,
        publisher: Some(publisher),
        media_flowing: true,
        play_url: String::new(),
    };
    let mut node = fixture.node.client.stream.clone();
    node.begin_publish(request).await.unwrap();

    let assigned = there.next_assignments(1).await;
    let relay = assigned[0].relay.as_ref().unwrap();
    assert_eq!(relay.destination_id, elsewhere.id);
}

#[rstest]
#[tokio::test]
async fn a_claim_ends_when_the_server_drains_and_its_leases_remain(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;
    let before = fixture.relay(&live).await;

    let (server, ended) = tokio::join!(fixture.server.restart(), worker.ended());

    let refusal = refused::<()>(Err(ended));
    assert_eq!(refusal.class(), (Code::Unavailable, "DRAINING"));
    let workers = server.operator(&[Scope::RelaysWork]).await;
    let worker = Worker::claim(&workers, "w1", "", 9).await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;
    let query = "select count(*) from relays where worker_id = 'w1' and attempt = 0";
    assert_eq!(server.database.number(query).await, 1, "{before:?}");
}

#[rstest]
#[tokio::test]
async fn a_claim_ends_when_its_access_token_expires(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start_with(engine, &["--access-token-lifetime=10s"], 0).await;
    // The token of the fixture may have expired already.
    let workers = fixture.server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 9).await;

    let refusal = refused::<()>(Err(worker.ended().await));

    let expired = (Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED");
    assert_eq!(refusal.class(), expired);
}

#[rstest]
#[tokio::test]
async fn a_claim_ends_when_its_api_key_expires(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let key_end = Some(now() + Duration::from_secs(10));
    let server = &fixture.server;
    let token = server
        .operator_token_until(&[Scope::RelaysWork], key_end)
        .await;
    let workers = Client::with_token(&server.channel, &token);
    let mut worker = Worker::claim(&workers, "w1", "", 9).await;

    let refusal = refused::<()>(Err(worker.ended().await));

    let expired = (Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED");
    assert_eq!(refusal.class(), expired);
}
