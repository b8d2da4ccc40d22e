use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::fixture::{NATS_ONLY, Replicas, metric, wait_for_connected};
use crate::{
    harness::{Client, Watcher},
    stream::changes::rename,
};

/// The number of changes.
const CHANGES: usize = 1000;

/// When the revisions of changes were committed.
type Commits = Arc<Mutex<HashMap<i64, Instant>>>;

/// Changes a project, with pauses, so that outages of several seconds come between.
async fn write(client: Client, project_id: String, commits: Commits) {
    for number in 0..CHANGES {
        let revision = rename(&client, &project_id, &format!("Name {number}")).await;
        commits.lock().unwrap().insert(revision, Instant::now());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reads all changes; returns when each arrived, and the watch. A gap or a duplicate fails.
async fn read(mut watcher: Watcher) -> (HashMap<i64, Instant>, Watcher) {
    let mut arrivals = HashMap::new();
    for _ in 0..CHANGES {
        watcher.change().await.unwrap();
        arrivals.insert(watcher.revision, Instant::now());
    }
    (arrivals, watcher)
}

#[tokio::test]
async fn changes_arrive_once_and_within_the_poll_interval_while_nats_is_killed_and_hangs() {
    let settings = [
        ("SLUICE_WATCH_HINTS", "false"),
        ("SLUICE_WATCH_POLL_INTERVAL", "1s"),
    ];
    let mut replicas = Replicas::start(&settings).await;
    let id = replicas.project.id.clone();
    let (_, watcher) = Watcher::start_synced(&replicas.there.client, &id).await;
    let subject = replicas.subject();
    replicas.nats.wait_for_subscriptions(&[&subject]).await;
    let commits = Commits::default();
    let reading = tokio::spawn(read(watcher));
    let writing = write(replicas.here.client.clone(), id, Arc::clone(&commits));
    let writing = tokio::spawn(writing);

    let mut outages = 0;
    while !writing.is_finished() {
        replicas.nats.kill().await;
        sleep(Duration::from_millis(500)).await;
        replicas.nats.start_again().await;
        replicas.nats.wait_for_subscriptions(&[&subject]).await;
        sleep(Duration::from_millis(500)).await;
        replicas.nats.suspend();
        // Shorter and longer than it takes to notice.
        sleep(Duration::from_secs(if outages % 2 == 0 { 2 } else { 9 })).await;
        replicas.nats.resume();
        replicas.nats.wait_for_subscriptions(&[&subject]).await;
        sleep(Duration::from_millis(500)).await;
        outages += 1;
    }
    writing.await.unwrap();
    let (arrivals, _watcher) = reading.await.unwrap();

    assert!(outages >= 2, "{outages}");
    let commits = std::mem::take(&mut *commits.lock().unwrap());
    let mut delays: Vec<_> = commits
        .iter()
        .map(|(revision, committed)| arrivals[revision].saturating_duration_since(*committed))
        .collect();
    delays.sort_unstable();
    assert_eq!(delays.len(), CHANGES);
    // The poll interval, plus the time of a busy machine.
    let [median, most, longest] = [500, 950, 999].map(|at| delays[at]);
    println!("{outages} outages: {median:?}, {most:?}, {longest:?}");
    assert!(most < Duration::from_millis(1500), "{most:?}");
    assert!(longest < Duration::from_secs(1 + 20), "{longest:?}");
    for name in ["published_total", "dropped_total"] {
        assert_ne!(metric(&replicas.here.process, name).await, 0.0, "{name}");
    }
    assert_ne!(metric(&replicas.there.process, "received_total").await, 0.0);
}

#[tokio::test]
async fn calls_do_not_wait_for_a_server_that_hangs() {
    let replicas = Replicas::start(&NATS_ONLY).await;
    let process = &replicas.here.process;
    wait_for_connected(process, true).await;
    let write_many = async || {
        let begun = Instant::now();
        for number in 0..100 {
            let name = format!("Name {number}");
            rename(&replicas.here.client, &replicas.project.id, &name).await;
        }
        begun.elapsed()
    };
    let usual = write_many().await;

    replicas.nats.suspend();
    let hung = write_many().await;

    let limit = 3 * usual + Duration::from_secs(3);
    assert!(hung < limit, "{hung:?} instead of {usual:?}");
    wait_for_connected(process, false).await;
    replicas.nats.resume();
    wait_for_connected(process, true).await;
}
