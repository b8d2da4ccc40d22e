use sluice::proto::v1 as pb;

use super::fixture::{NATS_ONLY, Replicas, metric};
use crate::{
    harness::{Client, eventually},
    relay::worker::Worker,
    stream::changes::add_destination,
};

/// Waits until the second replica has heard of something.
async fn wait_for_message(replicas: &Replicas) {
    eventually("a message is received", async || {
        let received = metric(&replicas.there.process, "received_total").await;
        (received > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replica_hears_of_what_its_workers_can_claim_and_of_the_projects_of_their_relays() {
    let replicas = Replicas::start(&NATS_ONLY).await;
    let mut ear = replicas.nats.client().await;
    ear.subscribe("sluice.v1.nodes.>").await;
    let destination = add_destination(&replicas.here.client, &replicas.project.id).await;
    let token = replicas.operator_token().await;
    let workers = Client::with_token(&replicas.there.channel, &token);
    let mut worker = Worker::claim(&workers, "w1", "n1", 10).await;
    let _idle = Worker::claim(&workers, "w2", "edge.example.com", 10).await;
    let nodes = ["sluice.v1.nodes.n1", "sluice.v1.nodes.edge%2Eexample%2Ecom"];
    replicas.nats.wait_for_subscriptions(&nodes).await;

    let media_server = replicas.media_server(&token);
    let stream = media_server.live(&replicas.stream_key, "c1").await;

    assert_eq!(ear.next().await, nodes[0]);
    let assignments = worker.next_assignments(1).await;
    wait_for_message(&replicas).await;
    let subject = replicas.subject();
    let with_project = [&nodes[..], &[&*subject]].concat();
    replicas.nats.wait_for_subscriptions(&with_project).await;

    let stop = pb::StopRelayRequest {
        stream_id: stream.id,
        destination_id: destination.id,
        ..Default::default()
    };
    let mut streams = replicas.here.client.stream.clone();
    streams.stop_relay(stop).await.unwrap();
    assert_eq!(
        worker.next_revocations().await,
        [assignments[0].lease_id.clone()]
    );
    drop(worker);
    replicas.nats.wait_for_subscriptions(&nodes[1..]).await;
}

#[tokio::test]
async fn a_replica_with_a_worker_of_any_media_server_hears_of_all() {
    let replicas = Replicas::start(&NATS_ONLY).await;
    add_destination(&replicas.here.client, &replicas.project.id).await;
    let token = replicas.operator_token().await;
    let workers = Client::with_token(&replicas.there.channel, &token);
    let mut worker = Worker::claim(&workers, "w1", "", 10).await;
    replicas
        .nats
        .wait_for_subscriptions(&["sluice.v1.nodes.*"])
        .await;

    let media_server = replicas.media_server(&token);
    media_server.live(&replicas.stream_key, "c1").await;

    worker.next_assignments(1).await;
    wait_for_message(&replicas).await;
}
