use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::changes::{add_destination, rename};
use crate::harness::{
    Client, Engine, Postgres, Sqlite, TestDatabase, TestServer, User, Watcher, eventually,
};

/// Polls are rare, so that they do not hide a lost notification.
const RARE_POLLS: &str = "--watch-poll-interval=1min";

/// The name set by the last change.
const LAST: &str = "The last name";

/// Counts the LISTEN connections of all replicas.
const LISTENERS: &str = "select count(*) from pg_stat_activity
    where application_name = 'sluice-listener' and datname = current_database()";

/// A server and its replica, with clients of one user, and a project.
struct TwoReplicas {
    server: TestServer,
    here: Client,
    there: Client,
    project: pb::Project,
}

impl TwoReplicas {
    async fn start(flags: &[&str]) -> Self {
        Self::start_on(TestDatabase::create(Postgres).await, flags).await
    }

    /// Starts both where LISTEN works, and waits until they listen for notifications.
    async fn start_listening(flags: &[&str]) -> Self {
        let database = TestDatabase::create(Postgres).await.direct();
        let replicas = Self::start_on(database, flags).await;
        eventually("both listen", async || {
            (replicas.server.database.number(LISTENERS).await == 2).then_some(())
        })
        .await;
        replicas
    }

    async fn start_on(database: TestDatabase, flags: &[&str]) -> Self {
        let roomy = [
            "--caller-burst=100000",
            "--max-user-watches=1000",
            "--max-connection-calls=1001",
            "--max-destinations=10000",
        ];
        let flags: Vec<_> = roomy.iter().chain(flags).copied().collect();
        let server = TestServer::start_on(database, &flags).await;
        let replica = server.replica().await;
        let owner = server.user().await;
        let (project, _) = owner.project().await;
        let client = |channel: &Channel| Client::with_token(channel, &owner.tokens.access_token);
        Self {
            here: client(&server.channel),
            there: client(&replica),
            project,
            server,
        }
    }

    fn client(&self, number: usize) -> &Client {
        [&self.here, &self.there][number % 2]
    }
}

/// Changes a project `count` times.
async fn write(client: Client, project_id: String, count: usize) {
    for number in 0..count {
        match number % 10 {
            0 => drop(add_destination(&client, &project_id).await),
            _ => drop(rename(&client, &project_id, &format!("Name {number}")).await),
        }
    }
}

/// All events until the last change.
async fn watch(mut watcher: Watcher) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = watcher.change().await.unwrap();
        let is_last =
            matches!(&event, Event::ProjectUpdated(project) if project.display_name == LAST);
        events.push(event);
        if is_last {
            return events;
        }
    }
}

/// All events after a revision until the watch is synced.
async fn events_until_synced(client: &Client, project_id: &str, after: i64) -> Vec<Event> {
    let mut watcher = Watcher::resume(client, project_id, after).await.unwrap();
    let mut events = Vec::new();
    loop {
        let before = watcher.revision;
        let message = watcher.next().await;
        match message.event.unwrap() {
            Event::Synced(_) => return events,
            event => {
                assert_eq!(message.revision, before + 1);
                events.push(event);
            }
        }
    }
}

/// Resumes after each revision, in concurrent tasks; `history` has the events after the first
/// revision.
async fn resume_everywhere(sides: [Client; 2], project: &pb::Project, history: &[Event]) {
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let (client, id) = (sides[task % 2].clone(), project.id.clone());
        let (first, history) = (project.revision, history.to_vec());
        tasks.spawn(async move {
            for seen in (0..=history.len()).skip(task).step_by(4) {
                let events = events_until_synced(&client, &id, first + seen as i64).await;
                assert!(events == history[seen..], "after {seen}");
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn eight_writers_on_two_replicas_produce_one_order_that_can_be_resumed_anywhere() {
    // The writers wait for each other, and watches for the writers' connections.
    let replicas = TwoReplicas::start(&["--db-acquire-timeout=30s"]).await;
    let id = &replicas.project.id;
    let mut watchers = JoinSet::new();
    for number in 0..8 {
        let (snapshot, watcher) = Watcher::start_synced(replicas.client(number), id).await;
        assert_eq!(snapshot.project, Some(replicas.project.clone()));
        watchers.spawn(watch(watcher));
    }

    let mut writers = JoinSet::new();
    for number in 0..8 {
        writers.spawn(write(replicas.client(number).clone(), id.clone(), 125));
    }
    writers.join_all().await;
    let last = rename(&replicas.here, id, LAST).await;

    assert_eq!(last, replicas.project.revision + 1001);
    let histories = watchers.join_all().await;
    for history in &histories {
        assert_eq!(history.len(), 1001);
        assert!(*history == histories[0], "all see the same");
    }
    let sides = [replicas.here.clone(), replicas.there.clone()];
    resume_everywhere(sides, &replicas.project, &histories[0]).await;
}

#[rstest]
#[tokio::test]
async fn watchers_that_join_during_writes_miss_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &["--caller-burst=100000"]).await;
    let owner: User = server.user().await;
    let (project, _) = owner.project().await;
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        writers.spawn(write(owner.client.clone(), project.id.clone(), 40));
    }

    // A connection has room for 100 calls at once, and the writers need some of it.
    let mut watchers = JoinSet::new();
    while !writers.is_empty() && watchers.len() < 80 {
        // Changes may come between the snapshot and the end of the history.
        let mut watcher = Watcher::start(&owner.client, &project.id).await;
        let Event::Snapshot(snapshot) = watcher.event().await else {
            panic!("the first message is a snapshot")
        };
        assert_eq!(snapshot.project.unwrap().revision, watcher.revision);
        watchers.spawn(watch(watcher));
        while writers.try_join_next().is_some() {}
    }
    writers.join_all().await;
    rename(&owner.client, &project.id, LAST).await;

    let histories = watchers.join_all().await;
    let longest = histories
        .iter()
        .max_by_key(|history| history.len())
        .unwrap();
    for history in &histories {
        assert!(longest.ends_with(history));
    }
    let seen = project.revision + 161 - longest.len() as i64;
    assert!(events_until_synced(&owner.client, &project.id, seen).await == *longest);
}

#[tokio::test]
async fn changes_on_one_replica_reach_watchers_of_the_other_at_once() {
    let replicas = TwoReplicas::start_listening(&[RARE_POLLS]).await;
    let id = &replicas.project.id;
    let (_, mut here) = Watcher::start_synced(&replicas.here, id).await;
    let (_, mut there) = Watcher::start_synced(&replicas.there, id).await;

    for number in 0..20 {
        let name = format!("Name {number}");
        let revision = rename(replicas.client(number), id, &name).await;
        here.read_until(revision).await;
        there.read_until(revision).await;
    }
}

#[tokio::test]
async fn changes_made_while_the_listener_is_disconnected_arrive_after_it_reconnects() {
    let replicas = TwoReplicas::start_listening(&[RARE_POLLS]).await;
    let id = &replicas.project.id;
    let (_, mut there) = Watcher::start_synced(&replicas.there, id).await;
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'sluice-listener' and datname = current_database()";

    for number in 0..20 {
        replicas.server.database.execute(terminate).await;
        rename(&replicas.here, id, &format!("Name {number}")).await;
        let revision = rename(&replicas.here, id, "Another name").await;
        there.read_until(revision).await;
    }
}

#[tokio::test]
async fn without_notifications_changes_arrive_within_the_poll_interval() {
    let replicas = TwoReplicas::start(&["--watch-hints=false", "--watch-poll-interval=1s"]).await;
    let id = &replicas.project.id;
    let (_, mut there) = Watcher::start_synced(&replicas.there, id).await;
    assert_eq!(replicas.server.database.number(LISTENERS).await, 0);

    for number in 0..5 {
        let revision = rename(&replicas.here, id, &format!("Name {number}")).await;
        let changed = Instant::now();
        there.read_until(revision).await;
        // The poll interval, plus the time of a busy machine. Without polls it never arrives.
        assert!(changed.elapsed() < Duration::from_secs(1 + 20));
    }
}

/// Other programs and manual statements change data without notification.
#[rstest]
#[tokio::test]
async fn a_change_without_notification_is_found_by_polling(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--watch-poll-interval=50ms"]).await;
    let owner = server.user().await;
    let (project, _) = owner.project().await;
    let (_, mut watcher) = Watcher::start_synced(&owner.client, &project.id).await;

    let revision = project.revision + 1;
    let silent = format!(
        "insert into events (project_id, revision, create_time, change)
         select id, {revision}, update_time, '\"project_deleted\"' from projects;
         update projects set revision = {revision};"
    );
    server.database.execute(&silent).await;

    let gone = Event::ProjectDeleted(pb::ProjectDeleted {});
    assert_eq!(watcher.change().await.unwrap(), gone);
}
