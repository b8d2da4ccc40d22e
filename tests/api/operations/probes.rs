use rstest::rstest;

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{
    Engine, Postgres, Process, Proxy, RawConnection, Signal, Sqlite, TestDatabase, eventually,
};

#[rstest]
#[tokio::test]
async fn a_serving_program_is_live_and_ready(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;

    let (live, ready) = (
        program.operations("GET", "/livez", "").await,
        program.operations("GET", "/readyz", "").await,
    );

    assert_eq!((live.status, live.body.as_str()), (200, "alive\n"));
    assert_eq!((ready.status, ready.body.as_str()), (200, "serving\n"));
}

#[tokio::test]
async fn a_draining_program_is_live_and_not_ready_and_closes_this_port_last() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [("SLUICE_DRAIN_TIMEOUT", "5s")];
    let mut program = Process::serve(&database, &settings);
    let channel = program.channel().await;
    // An incomplete call keeps the gRPC server open until the timeout.
    let grpc = program.address().await;
    let mut raw = RawConnection::to(grpc.parse().unwrap()).await;
    let _unfinished = raw.begin("sluice.v1.AuthService/GetJwks", &[]).await;
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest::default();
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);

    program.signal(Signal::TERM);
    eventually("the gRPC port is closed", async || {
        tokio::net::TcpStream::connect(&grpc)
            .await
            .is_err()
            .then_some(())
    })
    .await;

    let ready = program.operations("GET", "/readyz", "").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("draining"), "{ready:?}");
    let live = program.operations("GET", "/livez", "").await;
    assert_eq!(live.status, 200);
    let metrics = program.operations("GET", "/metrics", "").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(program.wait_for_exit().await, Some(0));
}

#[tokio::test]
async fn without_its_database_a_program_is_live_and_not_ready_and_exports_metrics() {
    let (database, mut proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;

    proxy.disconnect().await;

    let ready = eventually("readiness fails", async || {
        let ready = program.operations("GET", "/readyz", "").await;
        (ready.status == 503).then_some(ready)
    })
    .await;
    assert_eq!(ready.body, "the database does not answer\n");
    let live = program.operations("GET", "/livez", "").await;
    assert_eq!(live.status, 200);
    let metrics = program.operations("GET", "/metrics", "").await;
    assert!(metrics.body.contains("\nsluice_database_up 0\n"));
}
