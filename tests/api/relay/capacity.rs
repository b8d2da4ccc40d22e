//! The capacity of workers: relays that none takes, and who takes one.

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_projects_response::Event};

use super::fixture::{Fixture, broadcasting_report, destination_request, state_report};
use crate::harness::{Engine, MediaServer, Postgres, ProjectsWatcher, Sqlite, eventually};
use pb::{IssueCode, MediaIssueCode, RelayState};

/// A relay may wait for a worker so long.
const IMPATIENT: [&str; 1] = ["--relay-wait-timeout=1s"];

/// The id of the media server of the streams.
fn node_id() -> String {
    MediaServer::connection("c1").node_id
}

/// Waits until the relay of a stream to a destination has the only issue that no worker takes it.
async fn without_worker(
    fixture: &Fixture,
    stream: &pb::Stream,
    to: &pb::Destination,
) -> pb::MediaIssue {
    eventually("the relay has the issue", async || {
        let mut relay = relay_to(fixture, stream, to).await;
        let is_there = relay.issues.len() == 1
            && relay.issues[0].code() == MediaIssueCode::NoCapacity
            && relay.state() == RelayState::Idle;
        is_there.then(|| relay.issues.remove(0))
    })
    .await
}

async fn relay_to(fixture: &Fixture, stream: &pb::Stream, to: &pb::Destination) -> pb::Relay {
    let relays = fixture.relays(stream).await;
    let mut found = relays.into_iter();
    found.find(|one| one.destination_id == to.id).unwrap()
}

fn issues(message: &pb::WatchProjectsResponse) -> Option<Vec<pb::Issue>> {
    match &message.event {
        Some(Event::IssuesChanged(changed)) => Some(changed.issues.clone()),
        _ => None,
    }
}

#[rstest]
#[tokio::test]
async fn a_relay_that_no_worker_takes_has_an_issue_until_one_takes_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &IMPATIENT, 0).await;
    let destination = fixture.destination("a").await;
    let id = &*fixture.project.id;
    let owner = &fixture.owner.client;
    let live = fixture.live("c1").await;
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &[(id, 0)]).await;

    let raised = watcher.find(id, issues).await;
    let issue = without_worker(&fixture, &live, &destination).await;
    let detail = "no relay worker claims relays of its media server";
    assert_eq!(issue.detail, detail);
    let expected = pb::Issue {
        code: IssueCode::NoCapacity.into(),
        severity: pb::IssueSeverity::Warning.into(),
        since: issue.since,
        detail: detail.to_owned(),
        stream_id: live.id.clone(),
        destination_id: destination.id.clone(),
    };
    assert_eq!(raised, [expected]);
    let (snapshot, _) = ProjectsWatcher::start_synced(owner, &[(id, 0)]).await;
    assert_eq!(snapshot[0].relays[0].issues, [issue]);

    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(1).await.remove(0);
    assert_eq!(assigned.relay.unwrap().issues, []);
    assert_eq!(fixture.relay(&live).await.issues, []);
    assert_eq!(watcher.find(id, issues).await, []);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_relay_for_which_its_worker_has_no_room_has_an_issue_until_there_is_room(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &IMPATIENT, 0).await;
    let [first, second] = [
        fixture.destination("a").await,
        fixture.destination("b").await,
    ];
    let mut worker = fixture.worker_with("w1", &node_id(), 1).await;
    let live = fixture.live("c1").await;
    let held = worker.next_assignments(1).await.remove(0);
    let is_first = held.relay.as_ref().unwrap().destination_id == first.id;
    let (running, waiting) = match is_first {
        true => (first, second),
        false => (second, first),
    };

    let issue = eventually("the other relay has an issue", async || {
        worker.report(vec![broadcasting_report(&held, 5)]).await;
        let mut relay = relay_to(&fixture, &live, &waiting).await;
        (!relay.issues.is_empty()).then(|| relay.issues.remove(0))
    })
    .await;
    assert_eq!(issue.code(), MediaIssueCode::NoCapacity);
    assert!(issue.detail.contains("full"), "{issue:?}");
    assert!(issue.detail.contains(": 1 of them"), "{issue:?}");
    assert_eq!(relay_to(&fixture, &live, &running).await.issues, []);

    fixture.stop_relay(&live, &running).await;
    worker
        .expect_accepted(state_report(&held, RelayState::Idle, 0))
        .await;
    let assigned = worker.next_assignments(1).await.remove(0);
    assert_eq!(assigned.relay.unwrap().destination_id, waiting.id);
    assert_eq!(relay_to(&fixture, &live, &waiting).await.issues, []);
}

#[rstest]
#[tokio::test]
async fn a_relay_that_waits_for_an_earlier_one_to_its_destination_has_no_issue(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &IMPATIENT, 0).await;
    let busy = fixture.destination("a").await;
    let before = fixture.live("c1").await;
    let mut worker = fixture.worker_with("w1", &node_id(), 1).await;
    let held = worker.next_assignments(1).await.remove(0);
    fixture.stop_stream(&before).await;
    let other = fixture.destination("b").await;
    let live = fixture.live("c2").await;

    // The worker does not stop the relay of the stream that has ended.
    eventually("the other relay has an issue", async || {
        let stopping = state_report(&held, RelayState::Stopping, 0);
        worker.report(vec![stopping]).await;
        let other = relay_to(&fixture, &live, &other).await;
        (!other.issues.is_empty()).then_some(())
    })
    .await;

    let waits = relay_to(&fixture, &live, &busy).await;
    assert_eq!((waits.state(), &*waits.issues), (RelayState::Idle, &[][..]));
}

#[rstest]
#[tokio::test]
async fn a_stopped_relay_and_an_ended_stream_have_no_relay_without_worker(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &IMPATIENT, 0).await;
    let [stopped, ended] = [
        fixture.destination("a").await,
        fixture.destination("b").await,
    ];
    let live = fixture.live("c1").await;
    for destination in [&stopped, &ended] {
        without_worker(&fixture, &live, destination).await;
    }

    assert_eq!(fixture.stop_relay(&live, &stopped).await.issues, []);
    fixture.stop_stream(&live).await;

    let relays = fixture.relays(&live).await;
    let issues: Vec<_> = relays.into_iter().flat_map(|relay| relay.issues).collect();
    assert_eq!(issues, []);
    let stored = "select count(*) from relays where capacity_issue is not null";
    assert_eq!(fixture.server.database.number(stored).await, 0);
}

#[rstest]
#[tokio::test]
async fn relays_go_to_the_worker_with_the_most_free_capacity(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &IMPATIENT, 0).await;
    for name in ["a", "b", "c"] {
        fixture.destination(name).await;
    }
    let mut first = fixture.worker_with("w1", &node_id(), 10).await;
    let mut second = fixture.worker_with("w2", &node_id(), 9).await;
    // Both have found nothing to claim.
    for worker in [&mut first, &mut second] {
        worker.next().await.unwrap();
    }

    fixture.live("c1").await;
    first.next_assignments(3).await;

    // 7 are left of the first worker, 9 of the second.
    let (project, key) = fixture.owner.project().await;
    for name in ["a", "b", "c"] {
        let request = destination_request(&project, name);
        fixture.create_destination(request).await;
    }
    fixture.node.live(&key, "c2").await;
    second.next_assignments(3).await;
}
