//! WatchProjects: what it sends.

use std::slice;

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_projects_response::Event};
use tonic::Code;

use super::{
    changes::{add_destination, delete_project, rename},
    fixture::{Fixture, stats_with_bytes},
};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, ProjectsWatcher, Sqlite, refused};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

/// The project and the kind of each message.
fn kinds(messages: &[pb::WatchProjectsResponse]) -> Vec<(&str, &'static str)> {
    let kind = |message: &pb::WatchProjectsResponse| match message.event.as_ref().unwrap() {
        Event::Snapshot(_) => "snapshot",
        Event::Synced(_) => "synced",
        Event::Heartbeat(_) => "heartbeat",
        Event::ProjectUpdated(_) => "project_updated",
        Event::DestinationChanged(_) => "destination_changed",
        Event::StreamChanged(_) => "stream_changed",
        Event::RelayChanged(_) => "relay_changed",
        Event::ProjectDeleted(_) => "project_deleted",
        Event::Resync(_) => "resync",
        Event::PublisherRefused(_) => "publisher_refused",
        Event::IssuesChanged(_) => "issues_changed",
        Event::Stats(_) => "stats",
    };
    let kinds = messages.iter();
    kinds
        .map(|message| (&*message.project_id, kind(message)))
        .collect()
}

fn deleted(message: &pb::WatchProjectsResponse) -> Option<i64> {
    let is_deleted = matches!(message.event, Some(Event::ProjectDeleted(_)));
    is_deleted.then_some(message.revision)
}

fn refusal(message: &pb::WatchProjectsResponse) -> Option<pb::Refusal> {
    match &message.event {
        Some(Event::PublisherRefused(refusal)) => {
            assert_eq!(message.create_time, refusal.create_time);
            Some(refusal.clone())
        }
        _ => None,
    }
}

fn stats(message: &pb::WatchProjectsResponse) -> Option<pb::ProjectStats> {
    match &message.event {
        Some(Event::Stats(stats)) => Some(stats.clone()),
        _ => None,
    }
}

#[rstest]
#[tokio::test]
async fn each_project_begins_with_a_snapshot_and_is_then_synced(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let (other, _) = fixture.owner.project().await;
    let destination = add_destination(owner, &other.id).await;
    let live = fixture.begin_live_stream("a").await;
    let named = [(&*fixture.project_id, 0), (&*other.id, 0)];

    let mut watcher = ProjectsWatcher::start(owner, &named).await.unwrap();
    let begun = watcher.read_until_synced().await;

    let mut of_each = kinds(&begun);
    of_each.sort_by_key(|(id, _)| *id != fixture.project_id);
    let (first, second) = (&*fixture.project_id, &*other.id);
    let expected = [
        (first, "snapshot"),
        (first, "synced"),
        (second, "snapshot"),
        (second, "synced"),
    ];
    assert_eq!(of_each, expected);
    for message in begun {
        let Some(Event::Snapshot(snapshot)) = message.event else {
            continue;
        };
        if message.project_id == other.id {
            assert_eq!(snapshot.destinations, std::slice::from_ref(&destination));
            assert_eq!(snapshot.stream, None);
        } else {
            assert_eq!(snapshot.project, Some(fixture.project().await));
            assert_eq!(snapshot.stream, Some(live.clone()));
            assert_eq!(snapshot.destinations, []);
        }
    }
}

#[rstest]
#[tokio::test]
async fn changes_of_all_named_projects_and_of_no_other_are_sent(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let ((other, other_key), (unnamed, _)) =
        (fixture.owner.project().await, fixture.owner.project().await);
    let named = [(&*fixture.project_id, 0), (&*other.id, 0)];
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &named).await;

    rename(owner, &unnamed.id, "Not watched").await;
    let stream = fixture.node.begin(&other_key, "a").await.unwrap();
    let stream = stream.into_inner().stream.unwrap();
    let begun = watcher.next().await;
    assert_eq!(begun.project_id, other.id);
    assert_eq!(begun.event, Some(Event::StreamChanged(stream)));

    let destination = add_destination(owner, &fixture.project_id).await;
    let added = watcher.next().await;
    assert_eq!(added.project_id, fixture.project_id);
    let change = pb::DestinationChanged {
        destination_id: destination.id.clone(),
        destination: Some(destination),
    };
    assert_eq!(added.event, Some(Event::DestinationChanged(change)));
}

#[rstest]
#[tokio::test]
async fn each_project_resumes_after_its_own_revision(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let (other, _) = fixture.owner.project().await;
    let begin = fixture.project().await.revision;
    for number in 1..=5 {
        rename(owner, &fixture.project_id, &format!("Name {number}")).await;
        rename(owner, &other.id, &format!("Other {number}")).await;
    }

    for (first, second) in [(0, 5), (5, 0), (2, 3), (5, 5)] {
        let named = [
            (&*fixture.project_id, begin + first),
            (&*other.id, other.revision + second),
        ];
        let mut watcher = ProjectsWatcher::start(owner, &named).await.unwrap();
        let begun = watcher.read_until_synced().await;
        let updates = |id: &str| {
            let updates = kinds(&begun).into_iter();
            updates
                .filter(|kind| *kind == (id, "project_updated"))
                .count() as i64
        };
        assert_eq!(updates(&fixture.project_id), 5 - first);
        assert_eq!(updates(&other.id), 5 - second);
        assert_eq!(begun.len() as i64, 10 - first - second + 2, "{begun:?}");
        assert_eq!(watcher.revisions[&other.id], other.revision + 5);
    }
}

#[rstest]
#[tokio::test]
async fn without_named_projects_all_are_watched_also_those_created_later(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let (second, _) = fixture.owner.project().await;
    let stranger = fixture.server.user().await;
    stranger.project().await;

    let (snapshots, mut watcher) = ProjectsWatcher::start_synced(owner, &[]).await;
    let mut ids: Vec<_> = snapshots
        .iter()
        .map(|snapshot| snapshot.project.clone().unwrap().id)
        .collect();
    ids.sort_unstable();
    let mut expected = [fixture.project_id.clone(), second.id.clone()];
    expected.sort_unstable();
    assert_eq!(ids, expected);

    stranger.project().await;
    let (created, _) = fixture.owner.project().await;
    let snapshot = watcher.next().await;
    assert_eq!(snapshot.project_id, created.id);
    assert!(matches!(snapshot.event, Some(Event::Snapshot(_))));
    let synced = watcher.next().await;
    assert_eq!(synced.project_id, created.id);
    assert_eq!(synced.event, Some(Event::Synced(pb::WatchSynced {})));
    let revision = rename(owner, &created.id, "Renamed").await;
    watcher.read_until(&created.id, revision).await;
}

#[rstest]
#[tokio::test]
async fn a_user_without_projects_can_watch_for_the_first_one(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let user = fixture.server.user().await;
    let (snapshots, mut watcher) = ProjectsWatcher::start_synced(&user.client, &[]).await;
    assert_eq!(snapshots, []);

    let (created, _) = user.project().await;

    assert_eq!(watcher.next().await.project_id, created.id);
    delete_project(&user.client, &created.id).await;
    watcher.find(&created.id, deleted).await;
    let (another, _) = user.project().await;
    assert_eq!(watcher.next().await.project_id, another.id);
}

#[rstest]
#[tokio::test]
async fn a_deleted_project_ends_alone_and_the_last_named_one_ends_the_call(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let (other, _) = fixture.owner.project().await;
    let named = [(&*fixture.project_id, 0), (&*other.id, 0)];
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &named).await;

    delete_project(owner, &other.id).await;
    let last = watcher.find(&other.id, deleted).await;
    assert_eq!(last, other.revision + 1);
    let revision = rename(owner, &fixture.project_id, "It goes on").await;
    watcher.read_until(&fixture.project_id, revision).await;

    // The call resumes, and says again that the project was deleted.
    let named = [(&*fixture.project_id, revision), (&*other.id, last - 1)];
    let mut resumed = ProjectsWatcher::start(owner, &named).await.unwrap();
    let begun = resumed.read_until_synced().await;
    assert!(kinds(&begun).contains(&(&*other.id, "project_deleted")));

    delete_project(owner, &fixture.project_id).await;
    for watcher in [&mut watcher, &mut resumed] {
        watcher.find(&fixture.project_id, deleted).await;
        assert_eq!(watcher.wait_for_end().await.class(), NOT_FOUND);
    }
}

/// A deleted row leaves no event.
#[rstest]
#[tokio::test]
async fn a_project_whose_row_is_deleted_is_reported_as_deleted(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (other, _) = fixture.owner.project().await;
    let named = [(&*fixture.project_id, 0), (&*other.id, 0)];
    let owner = &fixture.owner.client;
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &named).await;

    let revision = rename(owner, &other.id, "Gone").await;
    watcher.read_until(&other.id, revision).await;
    let delete = format!("delete from projects where revision = {revision}");
    fixture.server.database.execute(&delete).await;

    assert_eq!(watcher.find(&other.id, deleted).await, revision);
    rename(owner, &fixture.project_id, "It goes on").await;
    assert_eq!(watcher.next().await.project_id, fixture.project_id);
}

#[rstest]
#[tokio::test]
async fn a_project_whose_history_is_gone_starts_again_and_the_others_go_on(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let (other, _) = fixture.owner.project().await;
    let begin = fixture.project().await.revision;
    for number in 1..=4 {
        rename(owner, &fixture.project_id, &format!("Name {number}")).await;
    }
    let head = rename(owner, &other.id, "Other").await;

    for (gap, before) in [(begin + 1, 0), (begin + 3, 1)] {
        // The first gap is at the revision to resume after, the other one behind an event.
        let statement = format!("delete from events where revision = {gap}");
        fixture.server.database.execute(&statement).await;
        let named = [(&*fixture.project_id, gap - 1 - before), (&*other.id, head)];
        let mut watcher = ProjectsWatcher::start(owner, &named).await.unwrap();
        let begun = watcher.read_until_synced().await;

        let of_first: Vec<_> = kinds(&begun)
            .into_iter()
            .filter_map(|(id, kind)| (id == fixture.project_id).then_some(kind))
            .collect();
        let mut expected = vec!["project_updated"; before as usize];
        expected.extend(["resync", "snapshot", "synced"]);
        assert_eq!(of_first, expected, "{gap}");
        assert!(kinds(&begun).contains(&(&*other.id, "synced")));
    }

    let future = [(&*fixture.project_id, i64::MAX), (&*other.id, head)];
    let mut watcher = ProjectsWatcher::start(owner, &future).await.unwrap();
    let begun = watcher.read_until_synced().await;
    assert!(kinds(&begun).contains(&(&*fixture.project_id, "resync")));
    let revision = rename(owner, &fixture.project_id, "It goes on").await;
    watcher.read_until(&fixture.project_id, revision).await;
}

#[rstest]
#[tokio::test]
async fn refused_publishers_are_sent_while_watching_and_to_a_watch_that_begins_soon_after(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;
    let id = &*fixture.project_id;
    fixture.begin_live_stream("a").await;
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &[(id, 0)]).await;
    let revision = watcher.revisions[id];

    for connection in ["b", "c"] {
        refused(fixture.node.begin(&fixture.key, connection).await);
        let refusal = watcher.find(id, refusal).await;
        assert_eq!(refusal.reason(), pb::ErrorReason::PublishConflict);
        assert_eq!(refusal.node_id, "n1");
    }
    // They are no changes.
    let renamed = rename(owner, id, "Renamed").await;
    assert_eq!(renamed, revision + 1);
    let update = watcher.next().await;
    assert_eq!(update.revision, renamed, "each refusal comes once");

    let mut later = ProjectsWatcher::start(owner, &[(id, renamed)])
        .await
        .unwrap();
    let begun = later.read_until_synced().await;
    assert_eq!(begun.iter().filter_map(refusal).count(), 2);
}

#[rstest]
#[tokio::test]
async fn statistics_are_sent_repeatedly_if_they_are_asked_for(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &["--watch-heartbeat=1s"]).await;
    let owner = &fixture.owner.client;
    let id = &*fixture.project_id;
    let live = fixture.begin_live_stream("a").await;
    let with_stats = ProjectsWatcher::start_with(owner, &[(id, 0)], true).await;
    let mut with_stats = with_stats.unwrap();
    with_stats.read_until_synced().await;
    let (_, mut without) = ProjectsWatcher::start_synced(owner, &[(id, 0)]).await;

    for bytes in [7, 9] {
        let publisher = MediaServer::connection("a");
        let measured = stats_with_bytes(bytes);
        fixture.heartbeat_from(&live, publisher, measured).await;
        let sent = with_stats.find(id, |message| {
            stats(message).filter(|sent| {
                let stream = sent.stream.as_ref();
                stream.is_some_and(|stream| stream.bytes_received == bytes)
            })
        });
        let sent = sent.await;
        assert_eq!((sent.stream_id, sent.relays), (live.id.clone(), vec![]));
    }

    rename(owner, id, "Renamed").await;
    let next = without.next().await;
    assert!(matches!(next.event, Some(Event::ProjectUpdated(_))));
}

#[rstest]
#[tokio::test]
async fn a_lost_publisher_is_an_issue_until_it_is_back(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let owner = &fixture.owner.client;
    let id = &*fixture.project_id;
    let issues = |message: &pb::WatchProjectsResponse| match &message.event {
        Some(Event::IssuesChanged(changed)) => Some(changed.issues.clone()),
        _ => None,
    };
    let live = fixture.begin_live_stream("a").await;
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &[(id, 0)]).await;

    let waiting = fixture.node.end(&live, "a").await;
    let lost = pb::Issue {
        code: pb::IssueCode::PublisherLost.into(),
        severity: pb::IssueSeverity::Warning.into(),
        since: waiting.last_seen_time,
        detail: String::new(),
        stream_id: live.id.clone(),
        destination_id: String::new(),
    };
    assert_eq!(watcher.find(id, issues).await, slice::from_ref(&lost));

    // A watch begins with the present issues, with a snapshot or without.
    let revision = watcher.revisions[id];
    for after in [0, revision - 1, revision] {
        let mut other = ProjectsWatcher::start(owner, &[(id, after)]).await.unwrap();
        let begun = other.read_until_synced().await;
        assert_eq!(
            begun.iter().filter_map(issues).next_back().unwrap(),
            slice::from_ref(&lost)
        );
    }

    fixture.begin_stream("b").await;
    assert_eq!(watcher.find(id, issues).await, []);
}

#[rstest]
#[tokio::test]
async fn an_idle_watch_sends_heartbeats_of_the_whole_call(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &["--watch-heartbeat=20ms"]).await;
    let owner = &fixture.owner.client;
    let named = [(&*fixture.project_id, 0)];
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &named).await;

    for _ in 0..3 {
        let heartbeat = watcher.message().await.unwrap();
        let expected = Event::Heartbeat(pb::WatchHeartbeat {});
        assert_eq!(heartbeat.event, Some(expected));
    }
}
