use rstest::rstest;
use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::fixtures::{duration, get_project};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

fn named(name: &str) -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: name.to_owned(),
        ..Default::default()
    }
}

#[rstest]
#[tokio::test]
async fn a_project_with_only_a_name_gets_the_defaults(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    let (project, stream_key) = user.project_with(named("Show")).await;

    let defaults = pb::Project {
        id: project.id.clone(),
        organization_id: user.user.id.clone(),
        display_name: "Show".to_owned(),
        disabled: false,
        reconnect_window: duration(60, 0),
        publish_conflict_policy: pb::PublishConflictPolicy::RejectNew.into(),
        outage_policy: pb::OutagePolicy::End.into(),
        stream_key_hint: stream_key[stream_key.len() - 4..].to_owned(),
        live_stream_id: String::new(),
        revision: 1,
        create_time: project.create_time,
        update_time: project.create_time,
        etag: project.etag.clone(),
        ..Default::default()
    };
    assert_eq!(project, defaults);
    assert!(project.create_time.is_some());
    assert_ne!(project.etag, "");
    assert_eq!(
        Uuid::parse_str(&project.id).unwrap().get_version_num(),
        7,
        "{}",
        project.id
    );
    assert_eq!(get_project(&user, &project).await, project);
}

#[rstest]
#[tokio::test]
async fn a_project_is_created_as_requested(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    let (ends, holds) = (pb::OutagePolicy::End, pb::OutagePolicy::Hold);
    for (window, policy, outages) in [
        (duration(0, 0), pb::PublishConflictPolicy::RejectNew, ends),
        (
            duration(1, 500_000_000),
            pb::PublishConflictPolicy::Takeover,
            holds,
        ),
        (
            duration(30 * 60, 0),
            pb::PublishConflictPolicy::Takeover,
            holds,
        ),
    ] {
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: window,
            publish_conflict_policy: policy.into(),
            request_id: Uuid::now_v7().to_string(),
            outage_policy: outages.into(),
            organization_id: String::new(),
        };

        let (project, _) = user.project_with(request).await;

        assert_eq!(project.outage_policy(), outages);
        assert_eq!(project.reconnect_window, window);
        assert_eq!(project.publish_conflict_policy(), policy);
        assert_eq!(get_project(&user, &project).await, project);
    }
}

/// Predecessor's defect G14: letters outside ASCII and words of SQL were deleted from names.
#[rstest]
#[tokio::test]
async fn names_are_stored_as_typed(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    for name in [
        "select update create",
        "Robert'); DROP TABLE projects;--",
        "Ünïcödé 日本語 العربية हिन्दी",
        "🎮 👩‍👩‍👧‍👦",
        "<b>O'Brien & \"Söhne\"</b> \\ % _",
        &"é".repeat(100),
        "x",
    ] {
        let (project, _) = user.project_with(named(name)).await;

        assert_eq!(project.display_name, name);
        assert_eq!(get_project(&user, &project).await.display_name, name);
    }
}

#[rstest]
#[tokio::test]
async fn names_are_trimmed_and_normalized(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    let (project, _) = user.project_with(named(" \tCafe\u{301}  Noir\n")).await;

    assert_eq!(project.display_name, "Caf\u{e9}  Noir");
}

#[rstest]
#[tokio::test]
async fn two_projects_may_have_the_same_name(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    let (one, key_of_one) = user.project_with(named("Show")).await;
    let (other, key_of_other) = user.project_with(named("Show")).await;

    assert_ne!(one.id, other.id);
    assert_ne!(key_of_one, key_of_other);
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;

    let request = pb::CreateProjectRequest {
        display_name: String::new(),
        reconnect_window: duration(-1, 0),
        publish_conflict_policy: 99,
        request_id: "1".to_owned(),
        outage_policy: 99,
        organization_id: String::new(),
    };
    let refusal = refused(user.client.project.create_project(request).await);

    assert_eq!(
        refusal.fields(),
        [
            "display_name",
            "outage_policy",
            "publish_conflict_policy",
            "reconnect_window",
            "request_id"
        ]
    );
}

#[tokio::test]
async fn each_invalid_value_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;

    let with_window = |seconds, nanos| pb::CreateProjectRequest {
        reconnect_window: duration(seconds, nanos),
        ..named("Show")
    };
    let with_policy = |policy| pb::CreateProjectRequest {
        publish_conflict_policy: policy,
        ..named("Show")
    };
    let with_outage_policy = |policy| pb::CreateProjectRequest {
        outage_policy: policy,
        ..named("Show")
    };
    let with_request_id = |id: &str| pb::CreateProjectRequest {
        request_id: id.to_owned(),
        ..named("Show")
    };
    for (request, field) in [
        (named(""), "display_name"),
        (named(" \u{3000}\t"), "display_name"),
        (named("two\nlines"), "display_name"),
        (named("nul\0"), "display_name"),
        (named("escape\u{1b}[31m"), "display_name"),
        (named(&"x".repeat(101)), "display_name"),
        (named(&"x".repeat(100_000)), "display_name"),
        (with_window(30 * 60, 1), "reconnect_window"),
        (with_window(0, -1), "reconnect_window"),
        (with_window(0, 1_000_000_000), "reconnect_window"),
        (with_window(i64::MAX, 0), "reconnect_window"),
        (with_window(i64::MIN, i32::MIN), "reconnect_window"),
        (with_policy(3), "publish_conflict_policy"),
        (with_policy(-1), "publish_conflict_policy"),
        (with_outage_policy(3), "outage_policy"),
        (with_outage_policy(-1), "outage_policy"),
        (with_request_id("not a uuid"), "request_id"),
        (with_request_id(&Uuid::nil().to_string()), "request_id"),
    ] {
        let case = format!("{request:?}");
        let refusal = refused(user.client.project.create_project(request).await);
        assert_eq!(refusal.fields(), [field], "{case:.200}");
    }
    assert_eq!(
        server
            .database
            .number("select count(*) from projects")
            .await,
        0
    );
}
