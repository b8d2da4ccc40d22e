//! Concurrent writes, which are sent to PostgreSQL in batches.

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::task::{JoinSet, yield_now};
use tonic::Code;
use uuid::Uuid;

use super::fixtures::{get_project, restricted_client, reveal_stream_key};
use crate::harness::{
    Client, Engine, Pooled, Postgres, Sqlite, TestServer, User, Watcher, eventually, refused,
};

/// Counts the PostgreSQL sessions that wait for a lock.
pub(super) const LOCK_WAITERS: &str = "select count(*) from pg_stat_activity
    where wait_event_type = 'Lock' and datname = current_database()";

/// A server without an effective rate limit.
async fn start(engine: Engine) -> TestServer {
    let flags = ["--caller-burst=100000", "--db-acquire-timeout=30s"];
    TestServer::start_with(engine, &flags).await
}

/// Waits until the blocked writes form a batch.
async fn wait_for_batch(server: &TestServer, engine: Engine) {
    match engine {
        Sqlite => yield_now().await,
        Postgres | Pooled => {
            eventually("a batch of writes waits", async || {
                // The pool has three connections, one of which is left to reads.
                (server.database.number(LOCK_WAITERS).await >= 2).then_some(())
            })
            .await;
        }
    }
}

pub(super) fn rename(id: &str, name: String) -> pb::UpdateProjectRequest {
    pb::UpdateProjectRequest {
        project_id: id.to_owned(),
        display_name: Some(name),
        ..Default::default()
    }
}

/// The actions of a user on a resource, from the audit log.
async fn audited_actions(user: &User, id: &str) -> Vec<String> {
    let request = pb::ListAuditEventsRequest {
        page_size: 200,
        ..Default::default()
    };
    let answer = user.client.auth.clone().list_audit_events(request).await;
    let events = answer.unwrap().into_inner().audit_events.into_iter();
    let of_it = events.filter(|event| event.resource_id == id && event.result == "OK");
    of_it.map(|event| event.action).collect()
}

#[rstest]
#[tokio::test]
async fn concurrent_creates_each_return_the_requested_project(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = start(engine).await;
    let users = [server.user().await, server.user().await];
    let media = server.media_server().await;
    let blocked = server.database.block_writes().await;
    let mut creates = JoinSet::new();
    for number in 0..40 {
        let mut projects = users[number % 2].client.project.clone();
        let policy = [
            pb::PublishConflictPolicy::RejectNew,
            pb::PublishConflictPolicy::Takeover,
        ][number / 2 % 2];
        let request = pb::CreateProjectRequest {
            display_name: format!("Show {number}"),
            publish_conflict_policy: policy.into(),
            ..Default::default()
        };
        creates.spawn(async move {
            let answer = projects.create_project(request).await.unwrap();
            (number, policy, answer.into_inner())
        });
    }
    wait_for_batch(&server, engine).await;
    blocked.release().await;

    for (number, policy, created) in creates.join_all().await {
        let (owner, other) = (&users[number % 2], &users[(number + 1) % 2]);
        let project = created.project.unwrap();
        assert_eq!(project.display_name, format!("Show {number}"));
        assert_eq!(project.publish_conflict_policy, i32::from(policy));
        assert_eq!(project.revision, 1);
        assert_eq!(get_project(owner, &project).await, project);
        assert_eq!(reveal_stream_key(owner, &project).await, created.stream_key);
        let connection = format!("c{number}");
        let stream = media.live(&created.stream_key, &connection).await;
        assert_eq!(stream.project_id, project.id);
        assert_eq!(
            audited_actions(owner, &project.id).await.last().unwrap(),
            "CreateProject"
        );
        let request = pb::GetProjectRequest {
            project_id: project.id,
            ..Default::default()
        };
        let hidden = other.client.project.clone().get_project(request).await;
        assert_eq!(refused(hidden).code, Code::NotFound);
    }
}

#[rstest]
#[tokio::test]
async fn concurrent_updates_change_only_projects_of_their_caller(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = start(engine).await;
    let (one, other) = (server.user().await, server.user().await);
    let (first, _) = one.project().await;
    let (second, _) = one.project().await;
    let (third, _) = other.project().await;
    let (gone, _) = one.project().await;
    let request = pb::DeleteProjectRequest {
        project_id: gone.id.clone(),
        force: false,
        ..Default::default()
    };
    let deleted = one.client.project.clone().delete_project(request).await;
    deleted.unwrap();
    let of_first = restricted_client(&server, &one, &first).await;
    let unknown = Uuid::now_v7().to_string();
    let callers: [(&Client, &str, Vec<&String>); 3] = [
        (&one.client, "one", vec![&first.id, &second.id]),
        (&other.client, "other", vec![&third.id]),
        (&of_first, "program", vec![&first.id]),
    ];

    let blocked = server.database.block_writes().await;
    let mut changes = JoinSet::new();
    for number in 0..5 {
        for (client, who, theirs) in &callers {
            for id in [&first.id, &second.id, &third.id, &gone.id, &unknown] {
                let (mut projects, is_theirs) = (client.project.clone(), theirs.contains(&id));
                let request = rename(id, format!("{who} {number}"));
                changes.spawn(async move {
                    let answer = projects.update_project(request.clone()).await;
                    (request, is_theirs, answer)
                });
            }
        }
    }
    wait_for_batch(&server, engine).await;
    blocked.release().await;

    for (request, is_theirs, answer) in changes.join_all().await {
        if is_theirs {
            let project = answer.unwrap().into_inner().project.unwrap();
            assert_eq!(project.id, request.project_id);
            assert_eq!(Some(project.display_name), request.display_name);
        } else {
            assert_eq!(
                refused(answer).class(),
                (Code::NotFound, "RESOURCE_NOT_FOUND")
            );
        }
    }
    for (owner, before, changes) in [(&one, &first, 10), (&one, &second, 5), (&other, &third, 5)] {
        let after = get_project(owner, before).await;
        assert_eq!(after.revision, before.revision + changes);
        let seen = audited_actions(owner, &before.id).await;
        let updates = seen.iter().filter(|action| *action == "UpdateProject");
        assert_eq!(updates.count() as i64, changes);

        let watcher = Watcher::resume(&owner.client, &before.id, before.revision).await;
        let mut watcher = watcher.unwrap();
        for revision in before.revision + 1..=after.revision {
            let Event::ProjectUpdated(project) = watcher.event().await else {
                panic!("only the project has changed")
            };
            assert_eq!(project.revision, revision);
            if revision == after.revision {
                assert_eq!(project, after);
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn concurrent_updates_change_only_the_fields_they_name(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let mut projects = Vec::new();
    for _ in 0..20 {
        projects.push(user.project().await);
    }
    // The response of an update also shows a stream that began meanwhile.
    let (live, stream_key) = &projects[4];
    let stream = media.live(stream_key, "c1").await;
    let nothing = |project: &pb::Project| pb::UpdateProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let window = prost_types::Duration {
        seconds: 45,
        nanos: 0,
    };

    let blocked = server.database.block_writes().await;
    let mut changes = JoinSet::new();
    for (number, (before, _)) in projects.iter().enumerate() {
        let (mut request, mut expected) = (nothing(before), before.clone());
        if before.id == live.id {
            expected.live_stream_id = stream.id.clone();
            expected.revision = get_project(&user, before).await.revision;
        }
        expected.revision += 1;
        match number % 5 {
            0 => {
                request.display_name = Some(format!("Renamed {number}"));
                expected.display_name = format!("Renamed {number}");
            }
            1 => {
                request.reconnect_window = Some(window);
                expected.reconnect_window = Some(window);
            }
            2 => {
                request.publish_conflict_policy = Some(pb::PublishConflictPolicy::Takeover.into());
                expected.publish_conflict_policy = pb::PublishConflictPolicy::Takeover.into();
            }
            3 => {
                request.disabled = Some(true);
                expected.disabled = true;
            }
            _ => request.disabled = Some(false),
        }
        let mut client = user.client.project.clone();
        changes.spawn(async move {
            let answer = client.update_project(request).await.unwrap();
            (expected, answer.into_inner().project.unwrap())
        });
    }
    wait_for_batch(&server, engine).await;
    blocked.release().await;

    for (expected, after) in changes.join_all().await {
        let expected = pb::Project {
            update_time: after.update_time,
            etag: after.etag.clone(),
            ..expected
        };
        assert_eq!(after, expected);
        assert_eq!(get_project(&user, &after).await, after);
    }
}

/// A caller that cancelled may have sent another request since.
#[tokio::test]
async fn cancelled_calls_of_a_batch_write_nothing() {
    let flags = ["--caller-burst=100000", "--db-timeout=5m"];
    let server = TestServer::start_with(Postgres, &flags).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let blocked = server.database.block_writes().await;
    let (mut kept, mut given_up) = (JoinSet::new(), JoinSet::new());
    for number in 0..20 {
        let (calls, name) = match number % 2 {
            0 => (&mut kept, "Kept"),
            _ => (&mut given_up, "Given up"),
        };
        let mut projects = user.client.project.clone();
        let request = pb::CreateProjectRequest {
            display_name: format!("{name} {number}"),
            ..Default::default()
        };
        calls.spawn(async move { projects.create_project(request).await.map(drop) });
        let mut projects = user.client.project.clone();
        let request = rename(&project.id, format!("{name} {number}"));
        calls.spawn(async move { projects.update_project(request).await.map(drop) });
    }
    wait_for_batch(&server, Postgres).await;
    given_up.shutdown().await;
    // On the same connection, so that the server has received the cancellations before.
    for _ in 0..3 {
        let request = pb::ListPlatformsRequest::default();
        let mut projects = user.client.project.clone();
        projects.list_platforms(request).await.unwrap();
    }
    blocked.release().await;

    for answer in kept.join_all().await {
        answer.unwrap();
    }
    let request = pb::ListProjectsRequest {
        page_size: 100,
        ..Default::default()
    };
    let listed = user.client.project.clone().list_projects(request).await;
    let projects = listed.unwrap().into_inner().projects;
    assert_eq!(projects.len(), 11);
    assert!(
        projects
            .iter()
            .all(|it| !it.display_name.starts_with("Given up"))
    );
    let after = get_project(&user, &project).await;
    assert_eq!(after.revision, project.revision + 10);
}
