//! The audit log of projects and of their resources.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::{
    audited_actions::{
        ACTIONS, AuditedResources, DESTINATION_KEY, SCOPES, create_resources, perform,
    },
    calls::{api_key_request, api_key_token, new_api_key},
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User, refused};

/// A page of the audit events of a user.
async fn page(user: &User, page_size: i32, page_token: &str) -> pb::ListAuditEventsResponse {
    let request = pb::ListAuditEventsRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let answer = user.client.auth.clone().list_audit_events(request).await;
    answer.unwrap().into_inner()
}

/// The audit events of a user that concern projects, newest first.
async fn project_events(user: &User) -> Vec<pb::AuditEvent> {
    let mut events = page(user, 200, "").await.audit_events;
    events.retain(|event| ACTIONS.contains(&&*event.action));
    events
}

async fn current_session(user: &User) -> String {
    let request = pb::ListSessionsRequest::default();
    let answer = user.client.auth.clone().list_sessions(request).await;
    let sessions = answer.unwrap().into_inner().sessions;
    let current = sessions.into_iter().find(|session| session.current);
    current.unwrap().id
}

#[rstest]
#[tokio::test]
async fn every_project_action_is_recorded_once_with_its_caller_and_resource(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] by_api_key: bool,
) {
    let server = TestServer::start(engine).await;
    let (user, other) = (server.user().await, server.user().await);
    let (resources, _) = create_resources(&user, &server.media_server().await).await;
    let (mut client, mut session_id) = (user.client.clone(), current_session(&user).await);
    let mut api_key_id = String::new();
    if by_api_key {
        let (key, secret) = new_api_key(&user, api_key_request(&SCOPES)).await;
        client = Client::with_token(&server.channel, &api_key_token(&server, &secret).await);
        (session_id, api_key_id) = (String::new(), key.id);
    }
    let before = project_events(&user).await;

    let mut done = Vec::new();
    for action in ACTIONS {
        let id = perform(&client, action, &resources, "New name")
            .await
            .unwrap();
        done.push((action.to_owned(), id));
    }

    let mut events = project_events(&user).await;
    assert_eq!(events.split_off(done.len()), before);
    assert!(events.is_sorted_by(|newer, older| newer.id > older.id));
    for ((action, resource_id), event) in done.into_iter().zip(events.into_iter().rev()) {
        assert!(event.user_agent.starts_with("tonic/"), "{event:?}");
        let expected = pb::AuditEvent {
            action,
            result: "OK".to_owned(),
            session_id: session_id.clone(),
            api_key_id: api_key_id.clone(),
            resource_id,
            peer_address: "127.0.0.1".to_owned(),
            ..event.clone()
        };
        assert_eq!(event, expected);
    }
    assert_eq!(project_events(&other).await, []);
}

#[rstest]
#[tokio::test]
async fn events_are_listed_newest_first_in_pages(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (resources, _) = create_resources(&user, &server.media_server().await).await;
    for action in ACTIONS {
        perform(&user.client, action, &resources, "New name")
            .await
            .unwrap();
    }
    let all = page(&user, 0, "").await.audit_events;

    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(&user, 2, &token).await;
        assert!(page.audit_events.len() <= 2);
        paged.extend(page.audit_events);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }

    assert!(all.len() > ACTIONS.len());
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));
    assert_eq!(paged, all);
}

#[rstest]
#[tokio::test]
async fn a_failed_call_records_no_event(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (user, stranger) = (server.user().await, server.user().await);
    let (resources, _) = create_resources(&user, &server.media_server().await).await;
    let malformed = AuditedResources {
        project: "no id".to_owned(),
        destination: "no id".to_owned(),
        stream: "no id".to_owned(),
    };
    let before = project_events(&user).await;

    for action in ACTIONS {
        let status = perform(&user.client, action, &malformed, "")
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{action}");
        if action != "CreateProject" {
            let answer = perform(&stranger.client, action, &resources, "Mine").await;
            assert_eq!(answer.unwrap_err().code(), Code::NotFound, "{action}");
        }
    }
    let request = pb::DeleteProjectRequest {
        project_id: resources.project.clone(),
        force: false,
        ..Default::default()
    };
    let live = refused(user.client.project.clone().delete_project(request).await);
    assert_eq!(live.reason, "PROJECT_LIVE");

    assert_eq!(project_events(&user).await, before);
    assert_eq!(project_events(&stranger).await, []);
}

#[rstest]
#[tokio::test]
async fn a_repeated_call_that_changes_nothing_records_no_event(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (resources, _) = create_resources(&user, &server.media_server().await).await;
    let project = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let destination = pb::CreateDestinationRequest {
        project_id: resources.project.clone(),
        platform: pb::Platform::Youtube.into(),
        display_name: "Main".to_owned(),
        stream_key: DESTINATION_KEY.to_owned(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let all = async || {
        let mut projects = user.client.project.clone();
        projects.create_project(project.clone()).await.unwrap();
        let created = projects.create_destination(destination.clone()).await;
        created.unwrap();
        let stopped = perform(&user.client, "StopStream", &resources, "").await;
        stopped.unwrap();
        project_events(&user).await
    };
    let before = project_events(&user).await;

    let once = all().await;

    assert_eq!(once.len(), before.len() + 3);
    assert_eq!(all().await, once);
}

#[rstest]
#[tokio::test]
async fn an_action_that_cannot_be_recorded_is_not_performed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (resources, _) = create_resources(&user, &server.media_server().await).await;
    let projects = async || {
        let request = pb::ListProjectsRequest::default();
        let answer = user.client.project.clone().list_projects(request).await;
        answer.unwrap().into_inner().projects
    };
    let destinations = async || {
        let request = pb::ListDestinationsRequest {
            project_id: resources.project.clone(),
            ..Default::default()
        };
        let answer = user.client.project.clone().list_destinations(request).await;
        answer.unwrap().into_inner().destinations
    };
    let state = async || {
        let stream = user.stream(&resources.stream).await;
        (projects().await, destinations().await, stream)
    };
    let before = state().await;

    let away = "alter table audit_events rename to audit_events_away";
    server.database.execute(away).await;
    // StopRelay succeeds without a change, because StartRelay failed.
    for action in ACTIONS.into_iter().filter(|action| *action != "StopRelay") {
        let status = perform(&user.client, action, &resources, "New name").await;
        assert_eq!(status.unwrap_err().code(), Code::Internal, "{action}");
    }

    assert_eq!(state().await, before);
}

#[rstest]
#[tokio::test]
async fn no_event_contains_a_secret(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (resources, stream_key) = create_resources(&user, &server.media_server().await).await;
    for action in ACTIONS {
        perform(&user.client, action, &resources, "New name")
            .await
            .unwrap();
    }

    let rows = async |text: &str| {
        let columns = "action || ' ' || result || ' ' || peer_address || ' ' || user_agent";
        let rows = format!("select count(*) from audit_events where {columns} like '%{text}%'");
        server.database.number(&rows).await
    };

    assert!(rows("RevealStreamKey OK 127.0.0.1 tonic").await > 0);
    for secret in [
        &stream_key,
        DESTINATION_KEY,
        user.password,
        &user.tokens.access_token,
        &user.tokens.refresh_token,
    ] {
        assert_eq!(rows(secret).await, 0, "{secret}");
    }
}
