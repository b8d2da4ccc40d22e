use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{Client, Engine, Postgres, Process, Signal, Sqlite, TestDatabase};

fn sign_up() -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    }
}

/// Predecessor's defect G20: it exited without draining.
#[rstest]
#[tokio::test]
async fn on_a_signal_the_call_in_flight_finishes_and_the_program_exits_with_success(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(Signal::TERM, Signal::INT)] signal: Signal,
) {
    let database = TestDatabase::create(engine).await;
    // Hashing takes long enough for the signal to arrive in between.
    let mut program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "11")]);
    let channel = program.channel().await;

    let mut client = Client::anonymous(&channel);
    let call = tokio::spawn(async move { client.auth.sign_up(sign_up()).await });
    // Once a later call on the connection is answered, the first one has arrived.
    Client::anonymous(&channel)
        .auth
        .get_me(pb::GetMeRequest {})
        .await
        .unwrap_err();
    program.signal(signal);

    call.await.unwrap().unwrap();
    assert_eq!(program.wait_for_exit().await, Some(0));
    assert_eq!(database.number("select count(*) from users").await, 1);
}

#[tokio::test]
async fn while_draining_health_is_not_serving_and_calls_are_still_served() {
    let database = TestDatabase::create(Sqlite).await;
    let mut program = Process::serve(&database, &[("SLUICE_DRAIN_DELAY", "2s")]);
    let channel = program.channel().await;
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );

    program.signal(Signal::TERM);

    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    Client::anonymous(&channel)
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await
        .unwrap();
    // An open watch does not delay the exit.
    assert_eq!(program.wait_for_exit().await, Some(0));
}

#[rstest]
#[tokio::test]
async fn revocations_are_still_refreshed_during_a_long_drain(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    // Longer than a server relies on the revocations that it read last.
    let mut program = Process::serve(&database, &[("SLUICE_DRAIN_DELAY", "20s")]);
    let channel = program.channel().await;
    let mut anonymous = Client::anonymous(&channel).auth;
    anonymous.get_jwks(pb::GetJwksRequest {}).await.unwrap();

    program.signal(Signal::TERM);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(5500) {
        anonymous.get_jwks(pb::GetJwksRequest {}).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(program.wait_for_exit().await, Some(0));
}

#[tokio::test]
async fn a_silent_connection_does_not_delay_the_exit() {
    let database = TestDatabase::create(Sqlite).await;
    let mut program = Process::serve(&database, &[("SLUICE_DRAIN_TIMEOUT", "300ms")]);
    program.channel().await;
    let mut silent = TcpStream::connect(program.address().await).await.unwrap();

    program.signal(Signal::TERM);

    assert_eq!(program.wait_for_exit().await, Some(0));
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(30), silent.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_second_signal_ends_the_program_at_once() {
    let database = TestDatabase::create(Sqlite).await;
    let mut program = Process::serve(&database, &[("SLUICE_DRAIN_DELAY", "5min")]);
    let channel = program.channel().await;
    let mut health = HealthClient::new(channel);
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );

    program.signal(Signal::TERM);
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    program.signal(Signal::TERM);

    assert_eq!(program.wait_for_exit().await, Some(1));
}
