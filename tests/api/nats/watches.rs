use super::fixture::{NATS_ONLY, Replicas, metric};
use crate::{
    harness::{NatsServer, Watcher},
    stream::changes::rename,
};

#[tokio::test]
async fn changes_on_one_replica_reach_watchers_of_the_other_at_once() {
    let replicas = Replicas::start(&NATS_ONLY).await;
    let id = &replicas.project.id;
    let (_, mut here) = Watcher::start_synced(&replicas.here.client, id).await;
    let (_, mut there) = Watcher::start_synced(&replicas.there.client, id).await;
    let subject = &*replicas.subject();
    replicas.nats.wait_for_subscriptions(&[subject; 2]).await;

    for number in 0..20 {
        let replica = [&replicas.here, &replicas.there][number % 2];
        let revision = rename(&replica.client, id, &format!("Name {number}")).await;
        here.read_until(revision).await;
        there.read_until(revision).await;
    }

    // A replica does not hear itself.
    for replica in [&replicas.here, &replicas.there] {
        assert_eq!(metric(&replica.process, "received_total").await, 10.0);
    }
}

#[tokio::test]
async fn a_replica_hears_only_of_the_projects_that_are_watched_there() {
    let replicas = Replicas::start(&NATS_ONLY).await;
    let (other, _) = replicas.owner.project().await;
    let mut ear = replicas.nats.client().await;
    ear.subscribe("sluice.v1.>").await;
    replicas.nats.wait_for_subscriptions(&[]).await;

    let watcher = Watcher::start_synced(&replicas.there.client, &replicas.project.id).await;
    let subject = &*replicas.subject();
    replicas.nats.wait_for_subscriptions(&[subject]).await;
    rename(&replicas.here.client, &other.id, "A name").await;
    rename(&replicas.here.client, &replicas.project.id, "A name").await;

    assert_eq!(ear.next().await, format!("sluice.v1.projects.{}", other.id));
    assert_eq!(ear.next().await, subject);
    drop(watcher);
    replicas.nats.wait_for_subscriptions(&[]).await;
    assert_eq!(metric(&replicas.there.process, "received_total").await, 1.0);
    assert_eq!(metric(&replicas.here.process, "received_total").await, 0.0);
}

/// While the setting is rolled out.
#[tokio::test]
async fn replicas_with_and_without_nats_hear_of_each_other_through_the_database() {
    let nats = NatsServer::start().await;
    let url = nats.url();
    let rare = ("SLUICE_WATCH_POLL_INTERVAL", "1min");
    let replicas = Replicas::start_with(nats, &[rare, ("SLUICE_NATS_URL", &url)], &[rare]).await;
    let id = &replicas.project.id;
    let (_, mut here) = Watcher::start_synced(&replicas.here.client, id).await;
    let (_, mut there) = Watcher::start_synced(&replicas.there.client, id).await;
    let subject = &*replicas.subject();
    replicas.nats.wait_for_subscriptions(&[subject]).await;

    for number in 0..10 {
        let replica = [&replicas.here, &replicas.there][number % 2];
        let revision = rename(&replica.client, id, &format!("Name {number}")).await;
        here.read_until(revision).await;
        there.read_until(revision).await;
    }
}
