use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixtures::{duration, get_project};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

/// An UpdateProject request without changes.
fn update_request(project: &pb::Project) -> pb::UpdateProjectRequest {
    pb::UpdateProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    }
}

async fn update(user: &User, request: pb::UpdateProjectRequest) -> pb::Project {
    let answer = user.client.project.clone().update_project(request).await;
    answer.unwrap().into_inner().project.unwrap()
}

async fn disable(user: &User, project: &pb::Project, disabled: bool) -> pb::Project {
    let request = pb::UpdateProjectRequest {
        disabled: Some(disabled),
        ..update_request(project)
    };
    update(user, request).await
}

#[rstest]
#[tokio::test]
async fn each_field_can_be_updated_alone_and_increments_the_revision(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (mut before, _) = user.project().await;
    let takeover = i32::from(pb::PublishConflictPolicy::Takeover);
    let reject_new = i32::from(pb::PublishConflictPolicy::RejectNew);

    type Change = (fn(&mut pb::UpdateProjectRequest), fn(&mut pb::Project));
    let renamed: Change = (
        |ask| ask.display_name = Some(" select 日本語 ".to_owned()),
        |then| then.display_name = "select 日本語".to_owned(),
    );
    let waits: Change = (
        |ask| ask.reconnect_window = duration(90, 250_000_000),
        |then| then.reconnect_window = duration(90, 250_000_000),
    );
    let never_waits: Change = (
        |ask| ask.reconnect_window = duration(0, 0),
        |then| then.reconnect_window = duration(0, 0),
    );
    let disabled: Change = (|ask| ask.disabled = Some(true), |then| then.disabled = true);
    let enabled: Change = (
        |ask| ask.disabled = Some(false),
        |then| then.disabled = false,
    );
    for (ask, expect) in [renamed, waits, never_waits, disabled, enabled] {
        let mut request = update_request(&before);
        ask(&mut request);
        let case = format!("{request:?}");

        let after = update(&user, request).await;

        let mut expected = pb::Project {
            revision: before.revision + 1,
            update_time: after.update_time,
            etag: after.etag.clone(),
            ..before.clone()
        };
        expect(&mut expected);
        assert_eq!(after, expected, "{case}");
        assert_ne!(after.update_time, before.update_time, "{case}");
        assert_eq!(get_project(&user, &before).await, after, "{case}");
        before = after;
    }
    for policy in [pb::OutagePolicy::Hold, pb::OutagePolicy::End] {
        let request = pb::UpdateProjectRequest {
            outage_policy: Some(policy.into()),
            ..update_request(&before)
        };
        let after = update(&user, request).await;
        assert_ne!(after.etag, before.etag);
        let expected = pb::Project {
            outage_policy: policy.into(),
            revision: before.revision + 1,
            update_time: after.update_time,
            etag: after.etag.clone(),
            ..before
        };
        assert_eq!(after, expected);
        assert_eq!(get_project(&user, &after).await, after);
        before = after;
    }
    for policy in [takeover, reject_new] {
        let request = pb::UpdateProjectRequest {
            publish_conflict_policy: Some(policy),
            ..update_request(&before)
        };
        let after = update(&user, request).await;
        let expected = pb::Project {
            publish_conflict_policy: policy,
            revision: before.revision + 1,
            update_time: after.update_time,
            etag: after.etag.clone(),
            ..before
        };
        assert_eq!(after, expected);
        before = after;
    }
}

#[rstest]
#[tokio::test]
async fn all_fields_can_be_updated_together(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (before, _) = user.project().await;
    let policy = i32::from(pb::PublishConflictPolicy::Takeover);

    let request = pb::UpdateProjectRequest {
        project_id: before.id.clone(),
        display_name: Some("Night show".to_owned()),
        disabled: Some(true),
        reconnect_window: duration(30 * 60, 0),
        publish_conflict_policy: Some(policy),
        outage_policy: Some(pb::OutagePolicy::Hold.into()),
        ..Default::default()
    };
    let after = update(&user, request).await;

    let expected = pb::Project {
        outage_policy: pb::OutagePolicy::Hold.into(),
        display_name: "Night show".to_owned(),
        disabled: true,
        reconnect_window: duration(30 * 60, 0),
        publish_conflict_policy: policy,
        revision: before.revision + 1,
        update_time: after.update_time,
        etag: after.etag.clone(),
        ..before
    };
    assert_eq!(after, expected);
}

#[rstest]
#[tokio::test]
async fn absent_fields_stay_unchanged(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (before, _) = user
        .project_with(pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: duration(7, 0),
            publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
            outage_policy: pb::OutagePolicy::Hold.into(),
            ..Default::default()
        })
        .await;
    let before = disable(&user, &before, true).await;

    let after = update(&user, update_request(&before)).await;

    let expected = pb::Project {
        revision: after.revision,
        update_time: after.update_time,
        etag: after.etag.clone(),
        ..before
    };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;

    let request = pb::UpdateProjectRequest {
        project_id: "1".to_owned(),
        display_name: Some(String::new()),
        disabled: Some(true),
        reconnect_window: duration(-1, 0),
        publish_conflict_policy: Some(0),
        outage_policy: Some(0),
        ..Default::default()
    };
    let refusal = refused(user.client.project.update_project(request).await);

    assert_eq!(
        refusal.fields(),
        [
            "display_name",
            "outage_policy",
            "project_id",
            "publish_conflict_policy",
            "reconnect_window"
        ]
    );
}

#[tokio::test]
async fn an_invalid_value_is_refused_and_changes_nothing() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let valid = || pb::UpdateProjectRequest {
        display_name: Some("Changed".to_owned()),
        disabled: Some(true),
        ..update_request(&project)
    };
    let named = |name: &str| pb::UpdateProjectRequest {
        display_name: Some(name.to_owned()),
        ..valid()
    };
    let with_window = |seconds, nanos| pb::UpdateProjectRequest {
        reconnect_window: duration(seconds, nanos),
        ..valid()
    };
    let with_policy = |policy| pb::UpdateProjectRequest {
        publish_conflict_policy: Some(policy),
        ..valid()
    };

    let with_outage_policy = |policy| pb::UpdateProjectRequest {
        outage_policy: Some(policy),
        ..valid()
    };

    for (request, field) in [
        (with_outage_policy(0), "outage_policy"),
        (with_outage_policy(3), "outage_policy"),
        (named("  "), "display_name"),
        (named("two\nlines"), "display_name"),
        (named(&"é".repeat(101)), "display_name"),
        (with_window(30 * 60, 1), "reconnect_window"),
        (with_window(0, -1), "reconnect_window"),
        (with_window(0, 1_000_000_000), "reconnect_window"),
        (with_policy(0), "publish_conflict_policy"),
        (with_policy(3), "publish_conflict_policy"),
    ] {
        let case = format!("{request:?}");
        let refusal = refused(user.client.project.update_project(request).await);
        assert_eq!(refusal.fields(), [field], "{case}");
    }
    assert_eq!(get_project(&user, &project).await, project);
}

/// Predecessor's defect G17: publishers of a disabled project kept publishing.
#[rstest]
#[tokio::test]
async fn disabling_ends_the_live_stream_and_refuses_publishers(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    let live = media.live(&stream_key, "c1").await;
    assert_eq!(get_project(&user, &project).await.live_stream_id, live.id);

    let disabled = disable(&user, &project, true).await;

    assert!(disabled.disabled);
    assert_eq!(disabled.live_stream_id, "");
    let ended = user.stream(&live.id).await;
    assert_eq!(ended.state(), pb::StreamState::Ended);
    assert_eq!(ended.end_reason(), pb::EndReason::ProjectDisabled);
    let heartbeat = media.heartbeat(&live, "c1").await;
    assert_eq!(heartbeat.action(), pb::PublishAction::Stop);
    assert_eq!(heartbeat.stop_reason(), pb::EndReason::ProjectDisabled);
    let refusal = refused(media.begin(&stream_key, "c2").await);
    assert_eq!(
        refusal.class(),
        (Code::FailedPrecondition, "PROJECT_DISABLED")
    );
}

#[rstest]
#[tokio::test]
async fn a_reenabled_project_accepts_publishers_again(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    let first = media.live(&stream_key, "c1").await;
    disable(&user, &project, true).await;

    disable(&user, &project, false).await;

    let second = media.live(&stream_key, "c2").await;
    assert_ne!(second.id, first.id);
}

#[rstest]
#[tokio::test]
async fn other_updates_do_not_end_the_live_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    let live = media.live(&stream_key, "c1").await;

    let request = pb::UpdateProjectRequest {
        display_name: Some("Renamed".to_owned()),
        disabled: Some(false),
        reconnect_window: duration(1, 0),
        ..update_request(&project)
    };
    let renamed = update(&user, request).await;

    assert_eq!(renamed.live_stream_id, live.id);
    let heartbeat = media.heartbeat(&live, "c1").await;
    assert_eq!(heartbeat.action(), pb::PublishAction::Continue);
}
