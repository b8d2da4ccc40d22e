//! Relays and tenants.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{Fixture, destination_request};
use crate::harness::{Client, Engine, Postgres, Refusal, Sqlite, refused};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

/// The refusals that a caller gets from the RPCs of owners.
async fn owner_refusals(client: &Client, stream: &str, destination: &str) -> [Refusal; 3] {
    let mut streams = client.stream.clone();
    let (stream_id, destination_id) = (stream.to_owned(), destination.to_owned());
    let list = pb::ListRelaysRequest {
        stream_id: stream_id.clone(),
        ..Default::default()
    };
    let start = pb::StartRelayRequest {
        stream_id: stream_id.clone(),
        destination_id: destination_id.clone(),
        ..Default::default()
    };
    let stop = pb::StopRelayRequest {
        stream_id,
        destination_id,
        ..Default::default()
    };
    [
        refused(streams.list_relays(list).await),
        refused(streams.start_relay(start).await),
        refused(streams.stop_relay(stop).await),
    ]
}

#[rstest]
#[tokio::test]
async fn a_relay_of_another_user_looks_unknown(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let before = (fixture.relay(&live).await, fixture.revision().await);
    let stranger = fixture.server.user().await;

    for refusal in owner_refusals(&stranger.client, &live.id, &destination.id).await {
        assert_eq!(refusal.class(), NOT_FOUND);
        let resource = refusal.details.resource_info().unwrap();
        assert_eq!(resource.resource_type, "stream");
    }

    assert_eq!(
        (fixture.relay(&live).await, fixture.revision().await),
        before
    );
}

#[rstest]
#[tokio::test]
async fn a_stream_is_relayed_only_to_destinations_of_its_own_project(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] strangers: bool,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.live("c1").await;
    let elsewhere = match strangers {
        false => {
            let (project, _) = fixture.owner.project().await;
            fixture
                .create_destination(destination_request(&project, "b"))
                .await
        }
        true => {
            let stranger = fixture.server.user().await;
            let (project, _) = stranger.project().await;
            let mut projects = stranger.client.project.clone();
            let request = destination_request(&project, "b");
            let answer = projects.create_destination(request).await.unwrap();
            answer.into_inner().destination.unwrap()
        }
    };

    let start = refused(fixture.try_start_relay(&live, &elsewhere).await);
    let stop = refused(fixture.try_stop_relay(&live, &elsewhere).await);

    for refusal in [start, stop] {
        assert_eq!(refusal.class(), NOT_FOUND);
        let resource = refusal.details.resource_info().unwrap();
        assert_eq!(resource.resource_type, "destination");
    }
    assert_eq!(fixture.relays(&live).await, []);
}

#[tokio::test]
async fn users_cannot_call_worker_rpcs_and_workers_cannot_call_owner_rpcs() {
    let fixture = Fixture::start(Sqlite).await;
    let destination = fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let missing = (Code::PermissionDenied, "SCOPE_MISSING");

    for client in [&fixture.owner.client, &fixture.node.client] {
        let mut streams = client.stream.clone();
        let claim = pb::ClaimRelaysRequest {
            worker_id: "w1".to_owned(),
            node_id: String::new(),
            capacity: 1,
            ..Default::default()
        };
        let claim = streams.claim_relays(claim).await.map(|_| ().into());
        let report = streams
            .report_relays(pb::ReportRelaysRequest::default())
            .await;
        assert_eq!(refused(claim).class(), missing);
        assert_eq!(refused(report).class(), missing);
    }
    for refusal in owner_refusals(&fixture.workers, &live.id, &destination.id).await {
        assert_eq!(refusal.class(), missing);
    }
}

#[rstest]
#[tokio::test]
async fn a_worker_serves_every_tenant(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    fixture.live("c1").await;
    let other = Fixture::over(fixture.server, 0).await;
    other.destination("b").await;
    other.live("c2").await;

    other.worker("w1").await.next_assignments(2).await;
}
