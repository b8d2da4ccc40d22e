use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::fixture::{HOUR, Publishers, SkewedReplica};
use crate::{
    auth::calls::{get_me, new_session, refresh},
    harness::{Client, Postgres, TestServer, eventually},
    operations::scrape::Scrape,
};

/// Silence is judged fifteen seconds after a start. A report that is late because the machine is
/// busy is not silence.
const FLAGS: [&str; 2] = ["--heartbeat-interval=1s", "--heartbeat-timeout=15s"];

/// The same as settings of a process.
const SETTINGS: [(&str, &str); 3] = [
    ("SLUICE_HEARTBEAT_INTERVAL", "1s"),
    ("SLUICE_HEARTBEAT_TIMEOUT", "15s"),
    ("SLUICE_REAP_INTERVAL", "50ms"),
];

#[rstest]
#[tokio::test]
async fn a_replica_with_a_wrong_clock_is_not_ready_and_says_why(
    #[values(HOUR, -HOUR, 5)] seconds_ahead: i64,
) {
    let server = TestServer::start(Postgres).await;
    let replica = SkewedReplica::start(&server.database, seconds_ahead, &[]).await;

    replica.wait_until_skewed().await;

    let mut health = HealthClient::new(replica.channel.clone());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    let scrape = Scrape::of(&replica.process).await;
    let skew = scrape.value("sluice_clock_skew_seconds", &[]).unwrap();
    assert!((skew - seconds_ahead as f64).abs() < 1.0, "{skew}");
    assert_eq!(scrape.value("sluice_database_up", &[]), Some(1.0));
    let is_warning = |line: &&String| line.contains("WARN") && line.contains("skew_seconds");
    assert_eq!(replica.process.log().iter().filter(is_warning).count(), 1);
}

#[tokio::test]
async fn a_difference_of_a_second_is_tolerated() {
    let server = TestServer::start(Postgres).await;
    let replica = SkewedReplica::start(&server.database, 1, &[]).await;

    replica.process.channel().await;

    let scrape = Scrape::of(&replica.process).await;
    let skew = scrape.value("sluice_clock_skew_seconds", &[]).unwrap();
    assert!((0.1..1.1).contains(&skew), "{skew}");
}

#[tokio::test]
async fn replicas_with_wrong_clocks_end_no_stream() {
    let server = TestServer::start_with(Postgres, &FLAGS).await;
    let ahead = SkewedReplica::start(&server.database, HOUR, &SETTINGS).await;
    let behind = SkewedReplica::start(&server.database, -HOUR, &SETTINGS).await;
    let token = server.operator_token(&[Scope::StreamsPublish]).await;
    let replicas = [&server.channel, &ahead.channel, &behind.channel];
    let publishers = Publishers::begin(&server, &token, &replicas).await;

    publishers.report_for(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_clock_that_is_set_while_a_replica_runs_ends_no_stream_and_is_noticed() {
    let server = TestServer::start_with(Postgres, &FLAGS).await;
    let replica = SkewedReplica::start(&server.database, 0, &SETTINGS).await;
    replica.process.channel().await;
    let token = server.operator_token(&[Scope::StreamsPublish]).await;
    let replicas = [&server.channel, &replica.channel];
    let publishers = Publishers::begin(&server, &token, &replicas).await;
    publishers.report_for(Duration::from_secs(18)).await;

    for seconds_ahead in [HOUR, -HOUR] {
        replica.clock.set(seconds_ahead);
        publishers.report_for(Duration::from_secs(2)).await;
        eventually("it is not ready", async || replica.not_ready().await).await;

        replica.clock.set(0);
        eventually("it is ready again", async || {
            replica.not_ready().await.is_none().then_some(())
        })
        .await;
    }
    publishers.report_for(Duration::from_secs(1)).await;
}

#[rstest]
#[tokio::test]
async fn a_sign_out_at_a_replica_with_a_wrong_clock_reaches_the_others_within_five_seconds(
    #[values(HOUR, -HOUR)] seconds_ahead: i64,
) {
    let server = TestServer::start(Postgres).await;
    let replica = SkewedReplica::start(&server.database, seconds_ahead, &[]).await;
    let ada = server.user().await;
    let there = Client::with_token(&replica.channel, &ada.tokens.access_token);
    get_me(&there).await.unwrap();

    let request = pb::SignOutRequest::default();
    there.auth.clone().sign_out(request).await.unwrap();

    let acknowledged = Instant::now();
    eventually("the token is refused", async || {
        let begun = Instant::now();
        let answer = get_me(&ada.client).await;
        let is_late = begun > acknowledged + Duration::from_secs(5);
        assert!(answer.is_err() || !is_late, "{:?}", acknowledged.elapsed());
        answer.is_err().then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn tokens_of_replicas_with_wrong_clocks_are_valid_everywhere(
    #[values(HOUR, -HOUR)] seconds_ahead: i64,
) {
    let mut server = TestServer::start(Postgres).await;
    let replica = SkewedReplica::start(&server.database, seconds_ahead, &[]).await;
    let ada = server.user().await;

    let here = new_session(&server, &ada).await;
    let channel = std::mem::replace(&mut server.channel, replica.channel.clone());
    let there = new_session(&server, &ada).await;

    for tokens in [&here, &there] {
        for channel in [&channel, &replica.channel] {
            get_me(&Client::with_token(channel, &tokens.access_token))
                .await
                .unwrap();
        }
    }
    refresh(&replica.channel, &here.refresh_token)
        .await
        .unwrap();
    refresh(&channel, &there.refresh_token).await.unwrap();
}
