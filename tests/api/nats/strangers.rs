use super::fixture::{NATS_ONLY, Replicas, metric};
use crate::{
    harness::{Watcher, eventually},
    stream::changes::rename,
};

#[tokio::test]
async fn messages_of_strangers_are_ignored_or_cause_reads() {
    let replicas = Replicas::start(&NATS_ONLY).await;
    let id = &replicas.project.id;
    let (_, mut watcher) = Watcher::start_synced(&replicas.there.client, id).await;
    let subject = &*replicas.subject();
    replicas.nats.wait_for_subscriptions(&[subject]).await;
    let mut stranger = replicas.nats.client().await;

    let megabyte = vec![b'x'; 1 << 20];
    for payload in [&b"{}"[..], b"\0", &megabyte] {
        stranger.publish(subject, payload).await;
    }
    // No replica is subscribed to these.
    stranger.publish("sluice.v1.projects.x", b"").await;
    stranger.publish("sluice.v1.nodes.n1", b"").await;
    let process = &replicas.there.process;
    eventually("the messages are counted", async || {
        (metric(process, "ignored_total").await == 3.0).then_some(())
    })
    .await;
    assert_eq!(metric(process, "received_total").await, 0.0);

    for _ in 0..1000 {
        stranger.publish(subject, b"").await;
    }
    eventually("the messages are received", async || {
        (metric(process, "received_total").await == 1000.0).then_some(())
    })
    .await;
    // The next change is the first that the watcher gets.
    let revision = rename(&replicas.here.client, id, "A name").await;
    assert_eq!(revision, replicas.project.revision + 1);
    watcher.read_until(revision).await;
    for replica in [&replicas.here, &replicas.there] {
        let log = replica.process.log();
        assert!(log.iter().all(|line| !line.contains("xxxx")));
        assert!(log.iter().all(|line| !line.contains("to NATS:")));
    }
}
