//! What an operator ends is over within five seconds after the answer, at every replica.

use std::{sync::Mutex, time::Duration};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Status, transport::Channel};

use super::fixture::{Fixture, key_request};
use crate::{
    auth::calls::{exchange_api_key, get_me},
    harness::{Client, Engine, Postgres, Sqlite, TimeLimit, Watcher, exchange, refused},
    relay::fixture::{Worker, broadcasting_report, destination_request},
};

const LIMIT: Duration = Duration::from_secs(5);

/// Whether a call was refused. A server that has not read the revocations in time, as on a slow
/// machine, refuses all calls.
fn is_refused(status: &Status) -> bool {
    [Code::Unauthenticated, Code::Unavailable].contains(&status.code())
}

async fn list_nodes(channel: &Channel, token: &str) -> Result<(), Status> {
    let mut operator = Client::with_token(channel, token).operator;
    let request = pb::ListNodesRequest::default();
    operator.list_nodes(request).await.map(drop)
}

#[rstest]
#[tokio::test]
async fn a_revoked_operator_key_is_refused_by_two_replicas_within_five_seconds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let scopes = [Scope::OperatorRead, Scope::RelaysWork];
    let (key, secret) = fixture.create(key_request(&scopes)).await;
    let replicas = [
        fixture.server.replica().await,
        fixture.server.replica().await,
    ];
    let token = exchange(&replicas[0], &secret).await;
    for replica in &replicas {
        list_nodes(replica, &token).await.unwrap();
    }
    let there = Client::with_token(&replicas[1], &token);
    let mut worker = Worker::claim(&there, "w1", "", 1).await;

    fixture.revoke(&key.id, false).await;
    let limit = TimeLimit::begin(LIMIT);

    for replica in &replicas {
        let refused = limit.until("the replica refuses the token", async || {
            list_nodes(replica, &token).await.err()
        });
        assert!(is_refused(&refused.await));
        let exchanged = refused_exchange(replica, &secret).await;
        assert!(is_refused(&exchanged), "{exchanged:?}");
    }
    assert!(is_refused(&worker.ended().await));
}

async fn refused_exchange(replica: &Channel, secret: &str) -> Status {
    exchange_api_key(replica, secret).await.unwrap_err()
}

#[rstest]
#[tokio::test]
async fn a_suspension_ends_sessions_watches_streams_and_relays_within_five_seconds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let ada = server.user().await;
    let media = server.media_server().await;
    let workers = server.operator(&[Scope::RelaysWork]).await;
    let (project, key) = ada.project().await;
    let destination = destination_request(&project, "main");
    let mut projects = ada.client.project.clone();
    projects.create_destination(destination).await.unwrap();
    let live = media.live(&key, "c1").await;
    let mut worker = Worker::claim(&workers, "w1", "", 1).await;
    let assignment = worker.next_assignments(1).await.remove(0);
    let report = broadcasting_report(&assignment, 1);
    worker.expect_accepted(report).await;
    let replicas = [server.replica().await, server.replica().await];
    let there = replicas
        .iter()
        .map(|replica| Client::with_token(replica, &ada.tokens.access_token));
    let there: Vec<_> = there.collect();
    for client in &there {
        get_me(client).await.unwrap();
    }
    let (_, watcher) = Watcher::start_synced(&there[0], &project.id).await;
    // A call that has ended, and why.
    let (watch_end, revocations) = (Mutex::new(None), Mutex::new(None));
    let mut watcher = watcher;

    fixture.suspend(&ada.user.id).await.unwrap();
    let limit = TimeLimit::begin(LIMIT);

    let reading = async {
        let ended = watcher.wait_for_end().await;
        *watch_end.lock().unwrap() = Some(ended.0);
    };
    let working = async {
        let revoked = worker.next_revocations().await;
        *revocations.lock().unwrap() = Some(revoked);
    };
    let checking = async {
        for client in &there {
            let refusal = limit.until("the replica refuses the session", async || {
                get_me(client).await.err()
            });
            assert!(is_refused(&refusal.await));
        }
        let told = limit.until("the media server is told to stop", async || {
            let answer = media.heartbeat(&live, "c1").await;
            (answer.action() == pb::PublishAction::Stop).then_some(answer.stop_reason())
        });
        assert_eq!(told.await, pb::EndReason::AccountSuspended);
        let ended = limit.until("the watch ends", async || watch_end.lock().unwrap().take());
        assert_eq!(ended.await.code, Code::Unauthenticated);
        let revoked = limit.until("the worker is told to stop", async || {
            revocations.lock().unwrap().take()
        });
        assert_eq!(revoked.await, [assignment.lease_id.clone()]);
    };
    tokio::join!(reading, working, checking);
    refused(media.begin(&key, "c2").await);
}
