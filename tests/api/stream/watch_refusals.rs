use rstest::rstest;
use tonic::{Code, Response};

use super::{
    changes::{next_project_updated, rename},
    fixture::Fixture,
};
use crate::harness::{
    Client, Engine, Pooled, Postgres, Refusal, Sqlite, Watcher, eventually, refused,
};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const RESYNC: (Code, &str) = (Code::OutOfRange, "RESYNC_REQUIRED");
const TOO_MANY: (Code, &str) = (Code::ResourceExhausted, "TOO_MANY_WATCHES");

/// The refusal of a watch that must not begin.
async fn refusal_of(client: &Client, project_id: &str, after_revision: i64) -> Refusal {
    let watcher = Watcher::resume(client, project_id, after_revision).await;
    refused(watcher.map(|_| Response::new(())))
}

#[rstest]
#[tokio::test]
async fn another_tenants_project_is_not_found(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let stranger = fixture.server.user().await.client;
    let revision = fixture.project().await.revision;

    for after_revision in [0, 1, revision, revision + 1, i64::MAX] {
        let refusal = refusal_of(&stranger, &fixture.project_id, after_revision).await;
        assert_eq!(refusal.class(), NOT_FOUND, "{after_revision}");
    }
}

#[rstest]
#[tokio::test]
async fn an_api_key_needs_both_scopes_and_access_to_the_project(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (other, _) = fixture.owner.project().await;
    let both = ["projects:read", "streams:read"];

    for (scopes, missing) in [
        (["projects:read", "projects:write"], "streams:read"),
        (["streams:read", "streams:write"], "projects:read"),
    ] {
        let client = fixture.api_key_client(&scopes, &[]).await;
        let refusal = refusal_of(&client, &fixture.project_id, 0).await;
        assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
        let info = refusal.details.error_info().unwrap();
        assert_eq!(info.metadata["scope"], missing);
    }

    let client = fixture.api_key_client(&both, &[&other.id]).await;
    for after_revision in [0, 1] {
        let refusal = refusal_of(&client, &fixture.project_id, after_revision).await;
        assert_eq!(refusal.class(), NOT_FOUND);
    }
    let (_, mut watcher) = Watcher::start_synced(&client, &other.id).await;
    rename(&fixture.owner.client, &other.id, "Renamed").await;
    assert_eq!(
        next_project_updated(&mut watcher).await.display_name,
        "Renamed"
    );
    Watcher::resume(&client, &other.id, 1).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn invalid_fields_are_named(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let owner = &fixture.owner.client;

    let refusal = refusal_of(owner, &fixture.project_id, -1).await;
    assert_eq!(refusal.fields(), ["after_revision"]);
    for id in ["", "1", "00000000000000000000000000000000"] {
        let refusal = refusal_of(owner, id, i64::MIN).await;
        assert_eq!(refusal.fields(), ["after_revision", "project_id"]);
    }
    let refusal = refusal_of(owner, &uuid::Uuid::now_v7().to_string(), 0).await;
    assert_eq!(refusal.class(), NOT_FOUND);
}

#[rstest]
#[tokio::test]
async fn a_future_revision_requires_a_resync(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let revision = fixture.project().await.revision;

    Watcher::resume(owner, id, revision).await.unwrap();
    for ahead in [revision + 1, revision + 2, i64::MAX] {
        assert_eq!(
            refusal_of(owner, id, ahead).await.class(),
            RESYNC,
            "{ahead}"
        );
    }
}

#[rstest]
#[tokio::test]
async fn after_pruning_a_watch_resumes_only_where_no_event_is_missing(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &["--event-retention=1h"]).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    for number in 1..=6 {
        rename(owner, id, &format!("Name {number}")).await;
    }
    let head = fixture.project().await.revision;
    let oldest = head - 3;
    let aged = format!(
        "update events set create_time = '2020-01-01T00:00:00+00:00' where revision < {oldest}"
    );
    fixture.server.database.execute(&aged).await;
    // Pruning runs when the server starts.
    let fixture = fixture.restart().await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let left = format!("select count(*) from events where revision < {oldest}");
    eventually("old events are pruned", async || {
        (fixture.server.database.number(&left).await == 0).then_some(())
    })
    .await;
    let kept = "select count(*) from events";
    assert_eq!(fixture.server.database.number(kept).await, 4);

    for pruned in 1..oldest - 1 {
        let refusal = refusal_of(owner, id, pruned).await;
        assert_eq!(refusal.class(), RESYNC, "{pruned}");
    }
    for kept in oldest - 1..=head {
        let mut watcher = Watcher::resume(owner, id, kept).await.unwrap();
        watcher.read_until(head).await;
    }
    Watcher::start_synced(owner, id).await;
}

/// Clocks differ, so that a later event may have an earlier time.
#[rstest]
#[tokio::test]
async fn a_gap_left_by_pruning_is_never_skipped(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let begin = fixture.project().await.revision;
    for number in 1..=4 {
        rename(owner, id, &format!("Name {number}")).await;
    }
    let gap = format!("delete from events where revision = {}", begin + 3);
    fixture.server.database.execute(&gap).await;

    let mut watcher = Watcher::resume(owner, id, begin).await.unwrap();
    watcher.read_until(begin + 2).await;
    let (refusal, last) = watcher.wait_for_end().await;

    assert_eq!((refusal.class(), last), (RESYNC, begin + 2));
}

#[rstest]
#[tokio::test]
async fn watches_are_limited_and_an_ended_watch_makes_room(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let limits = ["--max-watches=3", "--max-user-watches=2"];
    let fixture = Fixture::start_with(engine, &limits).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let api_key_client = fixture
        .api_key_client(&["projects:read", "streams:read"], &[])
        .await;
    let other = fixture.server.user().await;
    let (others, _) = other.project().await;

    let first = Watcher::start_synced(owner, id).await;
    let second = Watcher::start_synced(&api_key_client, id).await;
    for client in [owner, &api_key_client] {
        assert_eq!(refusal_of(client, id, 0).await.class(), TOO_MANY);
    }
    let third = Watcher::start_synced(&other.client, &others.id).await;
    assert_eq!(
        refusal_of(&other.client, &others.id, 0).await.class(),
        TOO_MANY
    );

    drop(first);
    let again = eventually("a watch slot is free", async || {
        Watcher::resume(owner, id, 0).await.ok()
    })
    .await;
    drop((second, third, again));
    // Refused watches do not count.
    for _ in 0..5 {
        let nobodys = uuid::Uuid::now_v7().to_string();
        eventually("a watch slot is free", async || {
            (refusal_of(owner, &nobodys, 0).await.class() == NOT_FOUND).then_some(())
        })
        .await;
    }
}
