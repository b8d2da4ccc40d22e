use std::{
    error::Error,
    time::{Duration, Instant},
};

use rstest::rstest;
use sluice::{layers, proto::v1 as pb, transport::Listener};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, service::Routes};

use super::{
    frames::{END_HEADERS, HEADERS, OPEN, frame, headers, hello},
    raw::{Ending, Raw},
};
use crate::{
    harness::{Engine, Postgres, Sqlite, Watcher, settings},
    stream::{changes::rename, fixture::Fixture},
};

const DRAINING: (Code, &str) = (Code::Unavailable, "DRAINING");

#[rstest]
#[tokio::test]
async fn a_watch_on_a_connection_that_is_old_ends_and_goes_on_over_another(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Fixture::start_with(engine, &["--connection-age=500ms"]).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let (_, mut watcher) = Watcher::synced(owner, id).await;

    for round in 0..3 {
        let (refusal, last) = watcher.ended().await;
        assert_eq!((refusal.class(), last), (DRAINING, watcher.revision));

        let revision = rename(owner, id, &format!("Show {round}")).await;
        watcher = Watcher::after(owner, id, last).await.unwrap();
        watcher.read_until(revision).await;
    }
}

#[rstest]
#[tokio::test]
async fn no_call_fails_when_connections_are_made_anew(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Fixture::start_with(engine, &["--connection-age=100ms"]).await;
    let begun = Instant::now();

    let mut calls = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let request = pb::GetProjectRequest {
            project_id: scene.project_id.clone(),
        };
        match scene
            .owner
            .client
            .project
            .clone()
            .get_project(request)
            .await
        {
            Ok(_) => calls += 1,
            // tonic's client had not sent it: other clients then take the next connection.
            Err(status) if status.code() == Code::Cancelled && status.source().is_some() => {}
            Err(status) => panic!("{status:?}"),
        }
    }
    assert!(calls > 20, "{calls}");
}

#[rstest]
#[tokio::test]
async fn a_connection_that_is_old_is_cut_after_a_grace(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--connection-age=200ms", "--connection-grace=200ms"];
    let scene = Fixture::start_with(engine, &flags).await;
    let mut raw = Raw::connect(scene.server.address).await;

    // A call that never ends, and a peer that answers nothing.
    let call = frame(HEADERS, END_HEADERS, 1, &headers(OPEN));
    raw.send(&[hello(), call].concat()).await.unwrap();

    assert_eq!(raw.ended().await.farewells[0], 0);
}

#[rstest]
#[tokio::test]
async fn a_connection_without_calls_is_closed_and_one_with_a_watch_is_not(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--connection-idle=300ms", "--connection-grace=100ms"];
    let scene = Fixture::start_with(engine, &flags).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let (_, mut watcher) = Watcher::synced(owner, id).await;

    for _ in 0..3 {
        let idle = Raw::greeted(scene.server.address).await;
        assert_eq!(idle.ended().await.farewells[0], 0);
    }

    let revision = rename(owner, id, "Still watched").await;
    watcher.read_until(revision).await;
}

#[rstest]
#[tokio::test]
async fn a_connection_of_a_peer_that_is_gone_is_closed() {
    let settings = settings(&[]);
    let mut listener_settings = settings.listener();
    listener_settings.timeouts.keepalive_interval = Duration::from_millis(100);
    listener_settings.timeouts.keepalive_timeout = Duration::from_millis(100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Listener::new(listener, listener_settings).unwrap();
    let metrics = listener.metrics();
    let services = layers::stack(Routes::default(), &settings.layers(listener.overload()));
    tokio::spawn(listener.serve(services, CancellationToken::new()));

    let silent = Raw::greeted(address).await;

    assert_eq!(silent.ended().await.answers, 0);
    crate::harness::eventually("it is counted out", async || {
        ((metrics.accepted(), metrics.open()) == (1, 0)).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Fixture::start_with(engine, &["--handshake-timeout=300ms"]).await;

    let mut slow = Raw::connect(scene.server.address).await;
    for byte in &hello()[..20] {
        if slow.send(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert_eq!(slow.ended().await, Ending::default());
    let answer = scene
        .server
        .anonymous()
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await;
    answer.unwrap();
}
