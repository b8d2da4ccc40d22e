use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::changes::{add_destination, rename};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User, Watcher, eventually};

/// Watchers far apart, so that no poll makes up for a lost hint.
const NO_POLLS: &str = "--watch-poll-interval=1min";

/// The name that the last change gives.
const LAST: &str = "The last name";

/// The connections to each replica that are listening.
const LISTENERS: &str = "select count(*) from pg_stat_activity
    where application_name = 'sluice-listener' and datname = current_database()";

/// A user of a server and its replica, with one project.
struct Two {
    server: TestServer,
    here: Client,
    there: Client,
    project: pb::Project,
}

impl Two {
    async fn start(flags: &[&str]) -> Self {
        let roomy = [
            "--caller-burst=100000",
            "--max-user-watches=1000",
            "--max-destinations=10000",
        ];
        let flags: Vec<_> = roomy.iter().chain(flags).copied().collect();
        let server = TestServer::start_with(Postgres, &flags).await;
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

    /// Once both replicas listen.
    async fn listening(self) -> Self {
        eventually("both listen", async || {
            (self.server.database.number(LISTENERS).await == 2).then_some(())
        })
        .await;
        self
    }

    fn side(&self, number: usize) -> &Client {
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

/// Everything until the last change, in order and without a gap.
async fn watch(mut watcher: Watcher) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = watcher.change().await.unwrap();
        let is_last = matches!(&event, Event::ProjectUpdated(project) if project.name == LAST);
        events.push(event);
        if is_last {
            return events;
        }
    }
}

/// Everything from a revision until the watch has caught up.
async fn caught_up(client: &Client, project_id: &str, after: i64) -> Vec<Event> {
    let mut watcher = Watcher::after(client, project_id, after).await.unwrap();
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

/// Resumes after each revision, from a few tasks at once; `history` is what comes after the first.
async fn resume_everywhere(sides: [Client; 2], project: &pb::Project, history: &[Event]) {
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let (client, id) = (sides[task % 2].clone(), project.id.clone());
        let (first, history) = (project.revision, history.to_vec());
        tasks.spawn(async move {
            for seen in (0..=history.len()).skip(task).step_by(4) {
                let events = caught_up(&client, &id, first + seen as i64).await;
                assert!(events == history[seen..], "after {seen}");
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn eight_writers_on_two_replicas_leave_one_order_that_can_be_resumed_anywhere() {
    let two = Two::start(&[]).await;
    let id = &two.project.id;
    let mut watchers = JoinSet::new();
    for number in 0..8 {
        let (snapshot, watcher) = Watcher::synced(two.side(number), id).await;
        assert_eq!(snapshot.project, Some(two.project.clone()));
        watchers.spawn(watch(watcher));
    }

    let mut writers = JoinSet::new();
    for number in 0..8 {
        writers.spawn(write(two.side(number).clone(), id.clone(), 125));
    }
    writers.join_all().await;
    let last = rename(&two.here, id, LAST).await;

    assert_eq!(last, two.project.revision + 1001);
    let histories = watchers.join_all().await;
    for history in &histories {
        assert_eq!(history.len(), 1001);
        assert!(*history == histories[0], "all see the same");
    }
    let sides = [two.here.clone(), two.there.clone()];
    resume_everywhere(sides, &two.project, &histories[0]).await;
}

#[rstest]
#[tokio::test]
async fn whoever_comes_while_others_write_misses_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
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
        let (snapshot, watcher) = Watcher::synced(&owner.client, &project.id).await;
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
    assert!(caught_up(&owner.client, &project.id, seen).await == *longest);
}

#[tokio::test]
async fn what_one_replica_changes_reaches_the_other_at_once() {
    let two = Two::start(&[NO_POLLS]).await.listening().await;
    let id = &two.project.id;
    let (_, mut here) = Watcher::synced(&two.here, id).await;
    let (_, mut there) = Watcher::synced(&two.there, id).await;

    for number in 0..20 {
        let name = format!("Name {number}");
        let revision = rename(two.side(number), id, &name).await;
        here.read_until(revision).await;
        there.read_until(revision).await;
    }
}

#[tokio::test]
async fn changes_made_while_the_listener_is_cut_off_arrive_when_it_is_back() {
    let two = Two::start(&[NO_POLLS]).await.listening().await;
    let id = &two.project.id;
    let (_, mut there) = Watcher::synced(&two.there, id).await;
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'sluice-listener' and datname = current_database()";

    for number in 0..20 {
        two.server.database.execute(terminate).await;
        rename(&two.here, id, &format!("Name {number}")).await;
        let revision = rename(&two.here, id, "Another name").await;
        there.read_until(revision).await;
    }
}

#[tokio::test]
async fn without_hints_changes_arrive_within_the_poll_interval() {
    let two = Two::start(&["--watch-hints=false", "--watch-poll-interval=1s"]).await;
    let id = &two.project.id;
    let (_, mut there) = Watcher::synced(&two.there, id).await;
    assert_eq!(two.server.database.number(LISTENERS).await, 0);

    for number in 0..5 {
        let revision = rename(&two.here, id, &format!("Name {number}")).await;
        let changed = Instant::now();
        there.read_until(revision).await;
        // The interval, and time for a busy machine.
        assert!(changed.elapsed() < Duration::from_secs(1 + 2));
    }
}

/// What other programs, or statements by hand, change without a word.
#[rstest]
#[tokio::test]
async fn a_change_that_nobody_tells_of_is_found(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &["--watch-poll-interval=50ms"]).await;
    let owner = server.user().await;
    let (project, _) = owner.project().await;
    let (_, mut watcher) = Watcher::synced(&owner.client, &project.id).await;

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
