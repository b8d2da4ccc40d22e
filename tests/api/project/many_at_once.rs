//! Many who write at once: PostgreSQL then gets what they write together.

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::task::{JoinSet, yield_now};
use tonic::Code;
use uuid::Uuid;

use super::given::{project_now, restricted, stream_key_now};
use crate::harness::{
    Client, Engine, Postgres, Sqlite, TestServer, User, Watcher, eventually, refused,
};

/// Those of PostgreSQL's sessions that wait for a lock.
pub(super) const WAITING: &str = "select count(*) from pg_stat_activity
    where wait_event_type = 'Lock' and datname = current_database()";

/// A server that lets one user write as often as a test needs.
async fn start(engine: Engine) -> TestServer {
    let flags = ["--caller-burst=100000", "--db-acquire-timeout=30s"];
    TestServer::start_with(engine, &flags).await
}

/// Waits until what is held back cannot go one by one any more.
async fn gathered(server: &TestServer, engine: Engine) {
    match engine {
        Sqlite => yield_now().await,
        Postgres => {
            eventually("some wait together", async || {
                (server.database.number(WAITING).await >= 3).then_some(())
            })
            .await;
        }
    }
}

pub(super) fn rename(id: &str, name: String) -> pb::UpdateProjectRequest {
    pb::UpdateProjectRequest {
        project_id: id.to_owned(),
        name: Some(name),
        ..Default::default()
    }
}

/// What a user has done to something, by the audit log.
async fn audited(user: &User, id: &str) -> Vec<String> {
    let request = pb::ListAuditEventsRequest {
        page_size: 200,
        ..Default::default()
    };
    let answer = user.client.auth.clone().list_audit_events(request).await;
    let events = answer.unwrap().into_inner().events.into_iter();
    let of_it = events.filter(|event| event.resource_id == id && event.result == "OK");
    of_it.map(|event| event.action).collect()
}

#[rstest]
#[tokio::test]
async fn of_many_who_create_at_once_each_gets_the_project_that_they_asked_for(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = start(engine).await;
    let users = [server.user().await, server.user().await];
    let media = server.media_server().await;
    let held = server.database.hold_writes().await;
    let mut creates = JoinSet::new();
    for number in 0..40 {
        let mut projects = users[number % 2].client.project.clone();
        let policy = [
            pb::PublishConflictPolicy::RejectNew,
            pb::PublishConflictPolicy::Takeover,
        ][number / 2 % 2];
        let request = pb::CreateProjectRequest {
            name: format!("Show {number}"),
            publish_conflict_policy: policy.into(),
            ..Default::default()
        };
        creates.spawn(async move {
            let answer = projects.create_project(request).await.unwrap();
            (number, policy, answer.into_inner())
        });
    }
    gathered(&server, engine).await;
    held.release().await;

    for (number, policy, created) in creates.join_all().await {
        let (owner, other) = (&users[number % 2], &users[(number + 1) % 2]);
        let project = created.project.unwrap();
        assert_eq!(project.name, format!("Show {number}"));
        assert_eq!(project.publish_conflict_policy, i32::from(policy));
        assert_eq!(project.revision, 1);
        assert_eq!(project_now(owner, &project).await, project);
        assert_eq!(stream_key_now(owner, &project).await, created.stream_key);
        let connection = format!("c{number}");
        let stream = media.live(&created.stream_key, &connection).await;
        assert_eq!(stream.project_id, project.id);
        assert_eq!(
            audited(owner, &project.id).await.last().unwrap(),
            "CreateProject"
        );
        let request = pb::GetProjectRequest {
            project_id: project.id,
        };
        let hidden = other.client.project.clone().get_project(request).await;
        assert_eq!(refused(hidden).code, Code::NotFound);
    }
}

#[rstest]
#[tokio::test]
async fn of_many_who_change_at_once_each_changes_only_what_is_theirs(
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
    };
    let deleted = one.client.project.clone().delete_project(request).await;
    deleted.unwrap();
    let of_first = restricted(&server, &one, &first).await;
    let unknown = Uuid::now_v7().to_string();
    let callers: [(&Client, &str, Vec<&String>); 3] = [
        (&one.client, "one", vec![&first.id, &second.id]),
        (&other.client, "other", vec![&third.id]),
        (&of_first, "program", vec![&first.id]),
    ];

    let held = server.database.hold_writes().await;
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
    gathered(&server, engine).await;
    held.release().await;

    for (request, is_theirs, answer) in changes.join_all().await {
        if is_theirs {
            let project = answer.unwrap().into_inner().project.unwrap();
            assert_eq!(project.id, request.project_id);
            assert_eq!(Some(project.name), request.name);
        } else {
            assert_eq!(
                refused(answer).class(),
                (Code::NotFound, "RESOURCE_NOT_FOUND")
            );
        }
    }
    for (owner, before, changes) in [(&one, &first, 10), (&one, &second, 5), (&other, &third, 5)] {
        let after = project_now(owner, before).await;
        assert_eq!(after.revision, before.revision + changes);
        let seen = audited(owner, &before.id).await;
        let updates = seen.iter().filter(|action| *action == "UpdateProject");
        assert_eq!(updates.count() as i64, changes);

        let watcher = Watcher::after(&owner.client, &before.id, before.revision).await;
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
async fn of_many_changes_at_once_each_changes_the_fields_that_it_names_and_no_other(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let mut projects = Vec::new();
    for _ in 0..20 {
        projects.push(user.project().await);
    }
    // A stream that began meanwhile is told by whoever changes something else.
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

    let held = server.database.hold_writes().await;
    let mut changes = JoinSet::new();
    for (number, (before, _)) in projects.iter().enumerate() {
        let (mut request, mut expected) = (nothing(before), before.clone());
        if before.id == live.id {
            expected.live_stream_id = stream.id.clone();
            expected.revision = project_now(&user, before).await.revision;
        }
        expected.revision += 1;
        match number % 5 {
            0 => {
                request.name = Some(format!("Renamed {number}"));
                expected.name = format!("Renamed {number}");
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
    gathered(&server, engine).await;
    held.release().await;

    for (expected, after) in changes.join_all().await {
        let expected = pb::Project {
            update_time: after.update_time,
            ..expected
        };
        assert_eq!(after, expected);
        assert_eq!(project_now(&user, &after).await, after);
    }
}

/// Whoever gave up may have asked for something else since.
#[tokio::test]
async fn of_many_at_once_nothing_is_written_for_who_has_given_up_meanwhile() {
    let patient = ["--caller-burst=100000", "--db-timeout=5m"];
    let server = TestServer::start_with(Postgres, &patient).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let held = server.database.hold_writes().await;
    let (mut kept, mut given_up) = (JoinSet::new(), JoinSet::new());
    for number in 0..20 {
        let (calls, name) = match number % 2 {
            0 => (&mut kept, "Kept"),
            _ => (&mut given_up, "Given up"),
        };
        let mut projects = user.client.project.clone();
        let request = pb::CreateProjectRequest {
            name: format!("{name} {number}"),
            ..Default::default()
        };
        calls.spawn(async move { projects.create_project(request).await.map(drop) });
        let mut projects = user.client.project.clone();
        let request = rename(&project.id, format!("{name} {number}"));
        calls.spawn(async move { projects.update_project(request).await.map(drop) });
    }
    gathered(&server, Postgres).await;
    given_up.shutdown().await;
    // Over the same connection: what was given up has been heard of before.
    for _ in 0..3 {
        let request = pb::ListPlatformsRequest {};
        let mut projects = user.client.project.clone();
        projects.list_platforms(request).await.unwrap();
    }
    held.release().await;

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
    assert!(projects.iter().all(|it| !it.name.starts_with("Given up")));
    let after = project_now(&user, &project).await;
    assert_eq!(after.revision, project.revision + 10);
}
