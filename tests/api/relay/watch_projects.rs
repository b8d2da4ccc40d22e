//! What WatchProjects sends about relays.

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_projects_response::Event};

use super::fixture::{Fixture, broadcasting_report, failure_report, retryable_failure};
use crate::harness::{Engine, Postgres, ProjectsWatcher, Sqlite};

use pb::{IssueCode, IssueSeverity, RelayErrorSeverity, RelayState};

fn issues(message: &pb::WatchProjectsResponse) -> Option<Vec<pb::Issue>> {
    match &message.event {
        Some(Event::IssuesChanged(changed)) => Some(changed.issues.clone()),
        _ => None,
    }
}

/// The only issue of a message.
fn issue(message: &pb::WatchProjectsResponse) -> Option<pb::Issue> {
    let issues = issues(message)?;
    assert_eq!(issues.len(), 1, "{issues:?}");
    issues.into_iter().next()
}

#[rstest]
#[tokio::test]
async fn a_failing_relay_is_an_issue_until_it_runs_or_its_stream_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let id = &*fixture.project.id;
    let owner = &fixture.owner.client;
    let (live, destination, mut worker, assignment) = fixture.claimed_relay().await;
    let (_, mut watcher) = ProjectsWatcher::start_synced(owner, &[(id, 0)]).await;

    worker.expect_accepted(retryable_failure(&assignment)).await;
    let retrying = watcher.find(id, issue).await;
    let relay = fixture.relay(&live).await;
    let expected = pb::Issue {
        code: IssueCode::RelayRetrying.into(),
        severity: IssueSeverity::Warning.into(),
        since: relay.update_time,
        detail: "broken pipe".to_owned(),
        stream_id: live.id.clone(),
        destination_id: destination.id.clone(),
    };
    assert_eq!(retrying, expected);

    let again = worker.next_assignments(1).await;
    assert_eq!(watcher.find(id, issues).await, []);
    worker
        .expect_accepted(broadcasting_report(&again[0], 9))
        .await;
    let fatal = failure_report(&again[0], RelayState::Failed, RelayErrorSeverity::Fatal);
    worker.expect_accepted(fatal).await;
    let failed = watcher.find(id, issue).await;
    assert_eq!(
        (failed.code(), failed.severity()),
        (IssueCode::RelayFailed, IssueSeverity::Error)
    );

    fixture.stop_stream(&live).await;
    assert_eq!(watcher.find(id, issues).await, []);
}

#[rstest]
#[tokio::test]
async fn the_issue_of_a_relay_ends_with_its_destination(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let id = &*fixture.project.id;
    let owner = &fixture.owner.client;
    let (_, destination, worker, assignment) = fixture.claimed_relay().await;
    let fatal = failure_report(&assignment, RelayState::Failed, RelayErrorSeverity::Fatal);
    worker.expect_accepted(fatal).await;
    let mut watcher = ProjectsWatcher::start(owner, &[(id, 0)]).await.unwrap();
    let begun = watcher.read_until_synced().await;
    assert_eq!(begun.iter().filter_map(issue).count(), 1);

    fixture.delete_destination(&destination).await;

    assert_eq!(watcher.find(id, issues).await, []);
}

#[rstest]
#[tokio::test]
async fn statistics_contain_the_relays_of_the_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let id = &*fixture.project.id;
    let (live, destination, worker, assignment) = fixture.claimed_relay().await;
    let owner = &fixture.owner.client;
    let watcher = ProjectsWatcher::start_with(owner, &[(id, 0)], true).await;
    let mut watcher = watcher.unwrap();

    for bytes in [1000, 2000] {
        worker
            .expect_accepted(broadcasting_report(&assignment, bytes))
            .await;
        let stats = watcher.find(id, |message| match &message.event {
            Some(Event::Stats(stats)) if stats.relays[0].bytes_sent == bytes => Some(stats.clone()),
            _ => None,
        });
        let stats = stats.await;
        let relay = fixture.relay(&live).await;
        let expected = pb::RelayStats {
            destination_id: destination.id.clone(),
            bytes_sent: bytes,
            bitrate_bps: 8 * bytes,
            last_progress_time: relay.last_progress_time,
            ..Default::default()
        };
        assert_eq!(
            (stats.stream_id, stats.relays),
            (live.id.clone(), vec![expected])
        );
    }
}
