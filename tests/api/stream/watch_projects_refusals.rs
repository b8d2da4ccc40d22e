//! WatchProjects: who may call it, its limits, and its end.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response};

use super::{changes::rename, fixture::Fixture};
use crate::{
    auth::calls,
    harness::{
        Client, Engine, Pooled, Postgres, ProjectsWatcher, Refusal, Sqlite, eventually, refused,
    },
};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const TOO_MANY: (Code, &str) = (Code::ResourceExhausted, "TOO_MANY_WATCHES");
const INVALID: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
const BOTH: [&str; 2] = ["projects:read", "streams:read"];

/// The refusal of a watch that must not begin.
async fn refusal_of(client: &Client, projects: &[(&str, i64)]) -> Refusal {
    let watcher = ProjectsWatcher::start(client, projects).await;
    refused(watcher.map(|_| Response::new(())))
}

#[rstest]
#[tokio::test]
async fn a_call_without_token_or_scope_is_refused(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let anonymous = fixture.server.anonymous();
    let refusal = refusal_of(&anonymous, &[]).await;
    let missing = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
    assert_eq!(refusal.class(), missing);

    for (scopes, missing) in [
        (["projects:read", "projects:write"], "streams:read"),
        (["streams:read", "streams:write"], "projects:read"),
    ] {
        let client = fixture.api_key_client(&scopes, &[]).await;
        let refusal = refusal_of(&client, &[]).await;
        assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
        let info = refusal.details.error_info().unwrap();
        assert_eq!(info.metadata["scope"], missing);
    }
}

#[rstest]
#[tokio::test]
async fn a_named_project_of_another_tenant_is_not_found(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stranger = fixture.server.user().await;
    let (own, _) = stranger.project().await;
    let theirs = (&*fixture.project_id, 0);

    let refusal = refusal_of(&stranger.client, &[(&own.id, 0), theirs]).await;

    assert_eq!(refusal.class(), NOT_FOUND);
    let resource = refusal.details.resource_info().unwrap();
    assert_eq!(resource.resource_name, fixture.project_id);
}

#[rstest]
#[tokio::test]
async fn an_api_key_watches_all_of_its_projects_and_no_other(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (other, _) = fixture.owner.project().await;
    let client = fixture.api_key_client(&BOTH, &[&other.id]).await;
    let named = [(&*fixture.project_id, 0)];
    assert_eq!(refusal_of(&client, &named).await.class(), NOT_FOUND);

    let (snapshots, mut watcher) = ProjectsWatcher::start_synced(&client, &[]).await;
    assert_eq!(snapshots.len(), 1);
    fixture.owner.project().await;
    rename(&fixture.owner.client, &fixture.project_id, "Not for it").await;
    let revision = rename(&fixture.owner.client, &other.id, "For it").await;

    let next = watcher.next().await;
    assert_eq!((next.project_id, next.revision), (other.id, revision));
}

#[rstest]
#[tokio::test]
async fn invalid_fields_are_named(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &*fixture.project_id);

    let refusal = refusal_of(owner, &[(id, -1), ("1", 0), (id, i64::MIN)]).await;
    let fields = [
        "projects[0].after_revision",
        "projects[1].project_id",
        "projects[2].after_revision",
    ];
    assert_eq!(refusal.fields(), fields);

    let upper = id.to_uppercase();
    let refusal = refusal_of(owner, &[(id, 0), (&upper, 0)]).await;
    assert_eq!(refusal.fields(), ["projects[1].project_id"]);

    let refusal = refusal_of(owner, &vec![(id, 0); 1001]).await;
    assert_eq!(refusal.fields(), ["projects"]);
}

#[rstest]
#[tokio::test]
async fn a_watch_counts_once_for_each_started_hundred_projects(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let limits = ["--max-user-watches=2", "--caller-burst=1000"];
    let fixture = Fixture::start_with(engine, &limits).await;
    let owner = &fixture.owner.client;
    let mut ids = vec![fixture.project_id.clone()];
    while ids.len() < 201 {
        ids.push(fixture.owner.project().await.0.id);
    }
    let named: Vec<_> = ids.iter().map(|id| (&**id, 0)).collect();

    assert_eq!(refusal_of(owner, &named).await.class(), TOO_MANY);
    assert_eq!(refusal_of(owner, &[]).await.class(), TOO_MANY);
    let two = ProjectsWatcher::start_synced(owner, &named[..200]).await;
    assert_eq!(refusal_of(owner, &named[..1]).await.class(), TOO_MANY);
    drop(two);
    eventually("two watches of a hundred projects fit", async || {
        let first = ProjectsWatcher::start(owner, &named[..100]).await.ok()?;
        let second = ProjectsWatcher::start(owner, &named[100..200]).await.ok()?;
        Some((first, second))
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn a_watch_of_all_projects_ends_when_a_created_one_exceeds_the_limit(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let limits = ["--max-user-watches=1", "--caller-burst=1000"];
    let fixture = Fixture::start_with(engine, &limits).await;
    for _ in 1..100 {
        fixture.owner.project().await;
    }
    let owner = &fixture.owner.client;
    let (snapshots, mut watcher) = ProjectsWatcher::start_synced(owner, &[]).await;
    assert_eq!(snapshots.len(), 100);

    fixture.owner.project().await;

    assert_eq!(watcher.wait_for_end().await.class(), TOO_MANY);
}

#[rstest]
#[tokio::test]
async fn more_projects_than_one_watch_can_contain_must_be_named(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let id = match engine {
        Sqlite => "randomblob(16)",
        Postgres | Pooled => "gen_random_uuid()",
    };
    let ten_thousand_copies = format!(
        "insert into projects
             (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
              stream_key_hint, revision, create_time, update_time)
         with recursive numbers (number) as (
             select 1 union all select number + 1 from numbers where number < 10000)
         select {id}, p.owner_id, p.name, p.disabled, p.reconnect_window_ms,
                p.publish_conflict_policy, p.stream_key_hint, p.revision, p.create_time,
                p.update_time
         from projects p cross join numbers"
    );
    fixture.server.database.execute(&ten_thousand_copies).await;
    let owner = &fixture.owner.client;

    let refusal = refusal_of(owner, &[]).await;

    let too_many = (Code::FailedPrecondition, "TOO_MANY_PROJECTS");
    assert_eq!(refusal.class(), too_many);
    assert!(refusal.message.contains("`projects`"), "{refusal:?}");
    ProjectsWatcher::start_synced(owner, &[(&fixture.project_id, 0)]).await;
}

#[rstest]
#[tokio::test]
async fn a_watch_ends_with_its_session(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let tokens = calls::new_session(&fixture.server, &fixture.owner).await;
    let other = Client::with_token(&fixture.server.channel, &tokens.access_token);
    let (_, mut watcher) = ProjectsWatcher::start_synced(&other, &[]).await;

    let request = pb::SignOutRequest::default();
    other.auth.clone().sign_out(request).await.unwrap();

    let refusal = watcher.wait_for_end().await;
    assert_eq!(refusal.class(), INVALID);
    let info = refusal.details.error_info().unwrap();
    assert!(!info.metadata.contains_key("last_revision"));
}

#[rstest]
#[tokio::test]
async fn a_watch_ends_when_its_api_key_is_revoked(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (key, secret) = calls::new_api_key(&fixture.owner, calls::api_key_request(&BOTH)).await;
    let token = calls::api_key_token(&fixture.server, &secret).await;
    let program = Client::with_token(&fixture.server.channel, &token);
    let (_, mut watcher) = ProjectsWatcher::start_synced(&program, &[]).await;

    let request = pb::RevokeApiKeyRequest {
        api_key_id: key.id,
        ..Default::default()
    };
    let mut auth = fixture.owner.client.auth.clone();
    auth.revoke_api_key(request).await.unwrap();

    assert_eq!(watcher.wait_for_end().await.class(), INVALID);
}
