use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response};

use super::{
    changes::{project_updated, rename},
    scene::Scene,
};
use crate::{
    auth::calls,
    harness::{Client, Engine, Postgres, Refusal, Sqlite, Watcher, eventually, refused},
};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const RESYNC: (Code, &str) = (Code::OutOfRange, "RESYNC_REQUIRED");
const TOO_MANY: (Code, &str) = (Code::ResourceExhausted, "TOO_MANY_WATCHES");

/// The refusal of a watch that does not even begin.
async fn refusal_of(client: &Client, project_id: &str, after_revision: i64) -> Refusal {
    let watcher = Watcher::after(client, project_id, after_revision).await;
    refused(watcher.map(|_| Response::new(())))
}

/// A program of the scene's owner.
async fn program(scene: &Scene, scopes: &[&str], project_ids: Vec<String>) -> Client {
    let request = pb::CreateApiKeyRequest {
        project_ids,
        ..calls::api_key_request(scopes)
    };
    let (_, secret) = calls::new_api_key(&scene.owner, request).await;
    let token = calls::api_key_token(&scene.server, &secret).await;
    Client::with_token(&scene.server.channel, &token)
}

#[rstest]
#[tokio::test]
async fn another_tenants_project_is_not_found(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let stranger = scene.server.user().await.client;
    let revision = scene.project().await.revision;

    for after_revision in [0, 1, revision, revision + 1, i64::MAX] {
        let refusal = refusal_of(&stranger, &scene.project_id, after_revision).await;
        assert_eq!(refusal.class(), NOT_FOUND, "{after_revision}");
    }
}

#[rstest]
#[tokio::test]
async fn a_program_needs_both_scopes_and_its_project(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (other, _) = scene.owner.project().await;
    let both = ["projects:read", "streams:read"];

    for (scopes, missing) in [
        (["projects:read", "projects:write"], "streams:read"),
        (["streams:read", "streams:write"], "projects:read"),
    ] {
        let client = program(&scene, &scopes, vec![]).await;
        let refusal = refusal_of(&client, &scene.project_id, 0).await;
        assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
        let info = refusal.details.error_info().unwrap();
        assert_eq!(info.metadata["scope"], missing);
    }

    let client = program(&scene, &both, vec![other.id.clone()]).await;
    for after_revision in [0, 1] {
        let refusal = refusal_of(&client, &scene.project_id, after_revision).await;
        assert_eq!(refusal.class(), NOT_FOUND);
    }
    let (_, mut watcher) = Watcher::synced(&client, &other.id).await;
    rename(&scene.owner.client, &other.id, "Renamed").await;
    assert_eq!(project_updated(&mut watcher).await.name, "Renamed");
    Watcher::after(&client, &other.id, 1).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn wrong_fields_are_named(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let owner = &scene.owner.client;

    let refusal = refusal_of(owner, &scene.project_id, -1).await;
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
async fn a_revision_that_is_yet_to_come_needs_a_snapshot(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let revision = scene.project().await.revision;

    Watcher::after(owner, id, revision).await.unwrap();
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
async fn after_pruning_a_watch_goes_on_only_where_nothing_is_missing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &["--event-retention=1h"]).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    for number in 1..=6 {
        rename(owner, id, &format!("Name {number}")).await;
    }
    let head = scene.project().await.revision;
    let oldest = head - 3;
    let aged = format!(
        "update events set create_time = '2020-01-01T00:00:00+00:00' where revision < {oldest}"
    );
    scene.server.database.execute(&aged).await;
    // It prunes when the server starts.
    let scene = scene.restart().await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let left = format!("select count(*) from events where revision < {oldest}");
    eventually("old events are pruned", async || {
        (scene.server.database.number(&left).await == 0).then_some(())
    })
    .await;
    let kept = "select count(*) from events";
    assert_eq!(scene.server.database.number(kept).await, 4);

    for pruned in 1..oldest - 1 {
        let refusal = refusal_of(owner, id, pruned).await;
        assert_eq!(refusal.class(), RESYNC, "{pruned}");
    }
    for kept in oldest - 1..=head {
        let mut watcher = Watcher::after(owner, id, kept).await.unwrap();
        watcher.read_until(head).await;
    }
    Watcher::synced(owner, id).await;
}

/// Clocks differ: of two events the later one may look older.
#[rstest]
#[tokio::test]
async fn a_gap_that_pruning_left_is_never_passed_over(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let begin = scene.project().await.revision;
    for number in 1..=4 {
        rename(owner, id, &format!("Name {number}")).await;
    }
    let gap = format!("delete from events where revision = {}", begin + 3);
    scene.server.database.execute(&gap).await;

    let mut watcher = Watcher::after(owner, id, begin).await.unwrap();
    watcher.read_until(begin + 2).await;
    let (refusal, last) = watcher.ended().await;

    assert_eq!((refusal.class(), last), (RESYNC, begin + 2));
}

#[rstest]
#[tokio::test]
async fn there_are_as_many_watches_as_allowed_and_each_that_ends_makes_room(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let limits = ["--max-watches=3", "--max-user-watches=2"];
    let scene = Scene::start_with(engine, &limits).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let program = program(&scene, &["projects:read", "streams:read"], vec![]).await;
    let other = scene.server.user().await;
    let (others, _) = other.project().await;

    let first = Watcher::synced(owner, id).await;
    let second = Watcher::synced(&program, id).await;
    for client in [owner, &program] {
        assert_eq!(refusal_of(client, id, 0).await.class(), TOO_MANY);
    }
    let third = Watcher::synced(&other.client, &others.id).await;
    assert_eq!(
        refusal_of(&other.client, &others.id, 0).await.class(),
        TOO_MANY
    );

    drop(first);
    let again = eventually("there is room", async || {
        Watcher::after(owner, id, 0).await.ok()
    })
    .await;
    drop((second, third, again));
    // What is refused takes no room.
    for _ in 0..5 {
        let nobodys = uuid::Uuid::now_v7().to_string();
        eventually("there is room", async || {
            (refusal_of(owner, &nobodys, 0).await.class() == NOT_FOUND).then_some(())
        })
        .await;
    }
}
