//! WatchProjects of many projects, at several replicas.

use std::{collections::HashMap, time::Duration};

use rstest::rstest;
use sluice::proto::v1::watch_projects_response::Event;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tokio::{task::JoinSet, time::sleep};
use tonic::Code;

use super::changes::rename;
use crate::harness::{
    Client, Cluster, Engine, Pooled, Postgres, ProjectsWatcher, Sqlite, TestDatabase, TestServer,
    User, until_available,
};

const PROJECTS: usize = 1000;

/// Renames of each project, by writers on two replicas.
const CHANGES: usize = 4;

/// Pairs of concurrent writers to the survivor of a kill.
const WRITERS: usize = 5;

/// Creates projects in parallel; returns their ids.
async fn create_projects(owner: &User, count: usize) -> Vec<String> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        let some = (0..20.min(count - ids.len())).map(|_| owner.project());
        let created = futures_util::future::join_all(some).await;
        ids.extend(created.into_iter().map(|(project, _)| project.id));
    }
    ids
}

/// Renames projects one after the other, several times.
async fn write(client: Client, ids: Vec<String>) {
    for number in 0..CHANGES / 2 {
        for id in &ids {
            rename(&client, id, &format!("Name {number}")).await;
        }
    }
}

/// Reads until every project is at its last revision; the watcher checks that no revision is
/// missing or comes twice.
async fn read_all(mut watcher: ProjectsWatcher, lasts: HashMap<String, i64>) {
    for (id, last) in lasts {
        watcher.read_until(&id, last).await;
    }
}

/// A thousand projects in one call, while two replicas change all of them: what the watchers of
/// both receive has no gap and no duplicate.
#[rstest]
#[tokio::test]
async fn a_watch_of_a_thousand_projects_misses_nothing_and_repeats_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--caller-burst=1000000", "--db-acquire-timeout=30s"];
    let server = TestServer::start_with(engine, &flags).await;
    let there = match engine {
        Postgres | Pooled => server.replica().await,
        // One server at a time uses the file.
        Sqlite => server.channel.clone(),
    };
    let owner = server.user().await;
    let there = Client::with_token(&there, &owner.tokens.access_token);
    let sides = [owner.client.clone(), there];
    let ids = create_projects(&owner, PROJECTS).await;
    let named: Vec<_> = ids.iter().map(|id| (&**id, 0)).collect();

    let mut watchers = Vec::new();
    for client in &sides {
        let (snapshots, watcher) = ProjectsWatcher::start_synced(client, &named).await;
        assert_eq!(snapshots.len(), PROJECTS);
        watchers.push(watcher);
        let (snapshots, watcher) = ProjectsWatcher::start_synced(client, &[]).await;
        assert_eq!(snapshots.len(), PROJECTS);
        watchers.push(watcher);
    }
    let begin = watchers[0].revisions.clone();
    let lasts: HashMap<_, _> = begin
        .iter()
        .map(|(id, revision)| (id.clone(), revision + CHANGES as i64))
        .collect();
    let mut tasks = JoinSet::new();
    for watcher in watchers {
        tasks.spawn(read_all(watcher, lasts.clone()));
    }
    for client in &sides {
        for half in ids.chunks(PROJECTS / 2) {
            tasks.spawn(write(client.clone(), half.to_vec()));
        }
    }
    tasks.join_all().await;

    // The same again, from the database instead of the feeds.
    let resumed: Vec<_> = begin.iter().map(|(id, after)| (&**id, *after)).collect();
    for client in &sides {
        let mut watcher = ProjectsWatcher::start(client, &resumed).await.unwrap();
        let begun = watcher.read_until_synced().await;
        assert_eq!(begun.len(), PROJECTS * (CHANGES + 1));
        assert_eq!(watcher.revisions, lasts);
    }
}

/// Reads until the watched process is gone.
async fn read_until_lost(watcher: &mut ProjectsWatcher) {
    loop {
        if let Err(status) = watcher.message().await {
            let lost = [
                Code::Unavailable,
                Code::Unknown,
                Code::Cancelled,
                Code::Internal,
            ];
            assert!(lost.contains(&status.code()), "{status:?}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_resumes_at_another_replica_after_its_own_is_killed() {
    resume_after_kills(50, &[0, 1, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_a_thousand_projects_resumes_at_another_replica_after_its_own_is_killed() {
    resume_after_kills(PROJECTS, &[0]).await;
}

/// Watches projects that a survivor changes before, during and after each kill of the watched
/// replica. The watcher checks that each project goes on with the next revision.
async fn resume_after_kills(watched: usize, kills: &[usize]) {
    let settings = [("SLUICE_CALLER_BURST", "1000000")];
    let database = TestDatabase::create(Postgres).await;
    let mut cluster = Cluster::start(database, 2, &settings).await;
    let owner = User::sign_up(&cluster.replicas.channel(0)).await;
    let token = owner.tokens.access_token.clone();
    let client =
        |cluster: &Cluster, number| Client::with_token(&cluster.replicas.channel(number), &token);
    let ids = create_projects(&owner, watched).await;
    let named: Vec<_> = ids.iter().map(|id| (&**id, 0)).collect();
    let here = client(&cluster, 0);
    let (snapshots, mut watcher) = ProjectsWatcher::start_synced(&here, &named).await;
    assert_eq!(snapshots.len(), watched);
    let mut lasts = watcher.revisions.clone();

    for &killed in kills {
        let survivor = client(&cluster, killed + 1);
        let mut writing = JoinSet::new();
        for some in ids.chunks(watched.div_ceil(WRITERS)) {
            writing.spawn(write(survivor.clone(), some.to_vec()));
            writing.spawn(write(survivor.clone(), some.to_vec()));
        }
        let (mut before, ()) = tokio::join!(
            async {
                read_until_lost(&mut watcher).await;
                watcher
            },
            cluster.kill(killed)
        );
        let seen: Vec<_> = before.revisions.drain().collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|(id, revision)| (&**id, *revision))
            .collect();
        let resumed = until_available(|| ProjectsWatcher::start(&survivor, &seen)).await;
        watcher = resumed.unwrap();
        writing.join_all().await;
        for (id, last) in &mut lasts {
            *last += CHANGES as i64;
            watcher.read_until(id, *last).await;
        }
    }
}

/// A commit can wait for its synchronous standby for any time. Projects are looked for two minutes
/// before the oldest transaction.
#[tokio::test]
async fn a_project_that_becomes_visible_long_after_its_creation_is_added_to_the_watch() {
    let server = TestServer::start(Postgres).await;
    let owner = server.user().await;
    let (_, mut watcher) = ProjectsWatcher::start_synced(&owner.client, &[]).await;
    let mut late = PgConnection::connect(&server.database.url).await.unwrap();
    let insert = format!(
        "begin;
         insert into projects
             (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
              stream_key_hint, revision, create_time, update_time)
         select '01890a5d-ac96-774b-bcce-b302099a8057', id, 'Late', false, 0, 'takeover', '', 1,
                now() - interval '115 seconds', now()
         from users
         where email = '{}'",
        owner.email
    );
    let insert = sqlx::raw_sql(AssertSqlSafe(insert));
    insert.execute(&mut late).await.unwrap();

    sleep(Duration::from_secs(10)).await;
    let commit = sqlx::raw_sql("commit").execute(&mut late).await;
    commit.unwrap();

    let message = watcher.next().await;
    assert_eq!(message.project_id, "01890a5d-ac96-774b-bcce-b302099a8057");
}

/// The same for a refused publisher, whose row is read for a minute after the time in it.
#[tokio::test]
async fn a_refused_publisher_that_becomes_visible_after_more_than_a_minute_is_sent() {
    let server = TestServer::start(Postgres).await;
    let owner = server.user().await;
    let (project, _) = owner.project().await;
    let id = &*project.id;
    let (_, mut watcher) = ProjectsWatcher::start_synced(&owner.client, &[(id, 0)]).await;
    let mut late = PgConnection::connect(&server.database.url).await.unwrap();
    let insert = format!(
        "begin;
         insert into refusals (id, project_id, create_time, reason, node_id, peer_prefix)
         values ('01890a5d-ac96-774b-bcce-b302099a8057', '{id}', now() - interval '55 seconds',
                 'publish_conflict', 'late', '')"
    );
    let insert = sqlx::raw_sql(AssertSqlSafe(insert));
    insert.execute(&mut late).await.unwrap();

    sleep(Duration::from_secs(8)).await;
    let commit = sqlx::raw_sql("commit").execute(&mut late).await;
    commit.unwrap();

    let refused = watcher.find(id, |message| match &message.event {
        Some(Event::PublisherRefused(refusal)) => Some(refusal.clone()),
        _ => None,
    });
    assert_eq!(refused.await.node_id, "late");
}
