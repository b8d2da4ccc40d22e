use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::{Code, Status};

use super::fixture::Fixture;
use crate::{
    auth::calls,
    contract::dump::dump,
    harness::{Client, Engine, Postgres, Sqlite, TestServer, User, eventually, refused},
    organization::{
        fixture::{
            accept, create, create_project, get, get_project, invite, join, leave, project_ids,
            rename_project, token, verified_user,
        },
        watches::{read_to_end, watch},
    },
    webhooks::{
        endpoint::Endpoint,
        fixture::{FLAGS, create_request, create_with},
    },
};

const SUSPENDED: (Code, &str) = (Code::PermissionDenied, "ORGANIZATION_SUSPENDED");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

/// The longest time that something may go on after the suspension.
const MAX_DELAY: Duration = Duration::from_secs(5);

async fn suspend(fixture: &Fixture, id: &str) -> Result<pb::OrganizationAccount, Status> {
    let request = pb::SuspendOrganizationRequest {
        organization_id: id.to_owned(),
    };
    let mut operator = fixture.operator.operator.clone();
    let suspended = operator.suspend_organization(request).await?;
    Ok(suspended.into_inner().organization.unwrap())
}

async fn resume(fixture: &Fixture, id: &str) -> Result<pb::OrganizationAccount, Status> {
    let request = pb::ResumeOrganizationRequest {
        organization_id: id.to_owned(),
    };
    let mut operator = fixture.operator.operator.clone();
    let resumed = operator.resume_organization(request).await?;
    Ok(resumed.into_inner().organization.unwrap())
}

async fn list(
    fixture: &Fixture,
    request: pb::OperatorServiceListOrganizationsRequest,
) -> Vec<pb::OrganizationAccount> {
    let mut operator = fixture.operator.operator.clone();
    let listed = operator.list_organizations(request).await.unwrap();
    listed.into_inner().organizations
}

#[track_caller]
fn assert_suspended<T: std::fmt::Debug>(result: Result<T, Status>) {
    let refusal = refused(result.map(tonic::Response::new));
    assert_eq!(refusal.class(), SUSPENDED);
}

/// An API key of an organization, and a client with its access token.
async fn program(server: &TestServer, owner: &User, id: &str) -> (String, User) {
    let request = pb::CreateApiKeyRequest {
        organization_id: id.to_owned(),
        ..calls::api_key_request(&["projects:read", "projects:write"])
    };
    let (_, secret) = calls::new_api_key(owner, request).await;
    let token = calls::api_key_token(server, &secret).await;
    let program = User {
        client: Client::with_token(&server.channel, &token),
        ..server.user().await
    };
    (secret, program)
}

#[rstest]
#[tokio::test]
async fn calls_of_members_and_keys_in_a_suspended_organization_are_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let owner = verified_user(server).await;
    let (id, other) = (create(&owner).await.id, create(&owner).await.id);
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let viewer = join(server, &owner, &id, Role::Viewer).await;
    let invited = verified_user(server).await;
    invite(&owner, &id, &invited.email, Role::Viewer)
        .await
        .unwrap();
    let invitation = token(&server.database, &invited.email).await;
    let (secret, program) = program(server, &owner, &id).await;

    let account = suspend(&fixture, &id).await.unwrap();

    assert_eq!(account.state(), pb::OrganizationState::Suspended);
    assert!(account.suspend_time.is_some());
    for member in [&owner, &viewer, &program] {
        assert_suspended(get_project(member, &project).await);
        assert_suspended(rename_project(member, &project).await);
        assert_suspended(project_ids(member, &id).await);
        assert_suspended(create_project(member, &id).await);
    }
    // Without an organization, that of the key is meant.
    assert_suspended(project_ids(&program, "").await);
    for member in [&owner, &viewer] {
        assert_suspended(get(member, &id).await);
        assert_suspended(leave(member, &id).await);
    }
    assert_suspended(invite(&owner, &id, "new@example.com", Role::Viewer).await);
    assert_suspended(accept(&invited, &invitation).await.map(drop));
    let exchanged = calls::exchange_api_key(&server.channel, &secret).await;
    assert_eq!(refused(exchanged).class(), SUSPENDED);
    // A stranger does not learn that it exists.
    let stranger = server.user().await;
    let refusal = refused(
        get_project(&stranger, &project)
            .await
            .map(tonic::Response::new),
    );
    assert_eq!(refusal.class(), NOT_FOUND);

    // The members see why, and other organizations go on.
    let mut organizations = owner.client.organization.clone();
    let listed = organizations.list_organizations(pb::ListOrganizationsRequest::default());
    let listed = listed.await.unwrap().into_inner().organizations;
    let suspended = listed.iter().filter(|one| one.suspend_time.is_some());
    assert_eq!(suspended.map(|one| &*one.id).collect::<Vec<_>>(), [&*id]);
    create_project(&owner, &other).await.unwrap();
    owner.project().await;

    let account = resume(&fixture, &id).await.unwrap();

    assert_eq!(account.state(), pb::OrganizationState::Active);
    assert_eq!(account.suspend_time, None);
    for member in [&owner, &viewer, &program] {
        get_project(member, &project).await.unwrap();
    }
    calls::exchange_api_key(&server.channel, &secret)
        .await
        .unwrap();
    accept(&invited, &invitation).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn watches_and_streams_of_a_suspended_organization_end_on_every_replica(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let owner = verified_user(server).await;
    let id = create(&owner).await.id;
    let (project, key) = create_project(&owner, &id).await.unwrap();
    let (others, others_key) = owner.project().await;
    let media = server.media_server().await;
    let (live, goes_on) = (
        media.live(&key, "c1").await,
        media.live(&others_key, "c2").await,
    );
    // A file of SQLite has one server.
    let channel = match engine {
        Sqlite => server.channel.clone(),
        _ => server.replica().await,
    };
    let there = Client::with_token(&channel, &owner.tokens.access_token);
    let watches = [
        watch(&owner.client, "", Some(&project)).await,
        watch(&there, &id, None).await,
        watch(&there, "", Some(&project)).await,
    ];
    // Longer than the interval in which memberships are read.
    tokio::time::sleep(Duration::from_secs(3)).await;

    suspend(&fixture, &id).await.unwrap();

    let suspended = Instant::now();
    eventually("the media server is told to stop", async || {
        let answer = media.heartbeat(&live, "c1").await;
        (answer.action() == pb::PublishAction::Stop).then(|| {
            assert_eq!(answer.stop_reason(), pb::EndReason::AccountSuspended);
        })
    })
    .await;
    for watch in watches {
        let refusal = refused::<()>(Err(read_to_end(watch).await));
        assert_eq!(refusal.class(), SUSPENDED);
    }
    assert!(suspended.elapsed() < MAX_DELAY, "{:?}", suspended.elapsed());
    let refusal = refused(media.begin(&key, "c3").await);
    let class = (Code::PermissionDenied, "ACCOUNT_SUSPENDED");
    assert_eq!(refusal.class(), class);
    let other = media.heartbeat(&goes_on, "c2").await;
    assert_eq!(other.action(), pb::PublishAction::Continue);
    assert_ne!(others.id, project.id);
    let request = pb::WatchProjectRequest {
        project_id: project.id.clone(),
        after_revision: 1,
    };
    let again = owner.client.stream.clone().watch_project(request).await;
    assert_eq!(refused(again).class(), SUSPENDED);

    resume(&fixture, &id).await.unwrap();
    media.live(&key, "c4").await;
}

#[rstest]
#[tokio::test]
async fn webhooks_of_a_suspended_organization_get_its_events_when_it_is_resumed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &FLAGS).await;
    let owner = verified_user(&fixture.server).await;
    let id = create(&owner).await.id;
    let endpoint = Endpoint::start().await;
    let request = pb::CreateWebhookRequest {
        organization_id: id.clone(),
        ..create_request(&endpoint)
    };
    create_with(&owner, request).await;
    let (_, key) = create_project(&owner, &id).await.unwrap();
    let media = fixture.server.media_server().await;
    let stream = media.live(&key, "c1").await;
    endpoint.wait_for_type("stream.live").await;

    suspend(&fixture, &id).await.unwrap();
    eventually("the stream ends", async || {
        let answer = media.heartbeat(&stream, "c1").await;
        (answer.action() == pb::PublishAction::Stop).then_some(())
    })
    .await;
    // Longer than an event takes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = endpoint.received();
    assert!(
        sent.iter()
            .all(|event| event.event_type() != "stream.ended")
    );

    resume(&fixture, &id).await.unwrap();
    endpoint.wait_for_type("stream.ended").await;
}

#[rstest]
#[tokio::test]
async fn suspensions_are_in_the_audit_logs_and_repeated_ones_change_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = verified_user(&fixture.server).await;
    let id = create(&owner).await.id;

    let first = suspend(&fixture, &id).await.unwrap();
    let before = dump(&fixture.server.database).await;
    assert_eq!(suspend(&fixture, &id).await.unwrap(), first);
    assert_eq!(dump(&fixture.server.database).await, before);
    resume(&fixture, &id).await.unwrap();
    let before = dump(&fixture.server.database).await;
    resume(&fixture, &id).await.unwrap();
    assert_eq!(dump(&fixture.server.database).await, before);

    let request = pb::ListOrganizationAuditEventsRequest {
        organization_id: id.clone(),
        ..Default::default()
    };
    let mut organizations = owner.client.organization.clone();
    let listed = organizations.list_organization_audit_events(request);
    let events = listed.await.unwrap().into_inner().audit_events;
    let actors = events.iter().map(|entry| {
        let event = entry.event.clone().unwrap();
        (event.action, entry.user_id.clone(), event.api_key_id)
    });
    let by_operator = |action: &str| (action.to_owned(), String::new(), fixture.key_id.clone());
    let created = (
        "CreateOrganization".to_owned(),
        owner.user.id.clone(),
        String::new(),
    );
    let expected = [
        by_operator("ResumeOrganization"),
        by_operator("SuspendOrganization"),
        created,
    ];
    assert_eq!(actors.collect::<Vec<_>>(), expected);
    for (action, event) in [
        ("SuspendOrganization", &events[1]),
        ("ResumeOrganization", &events[0]),
    ] {
        let request = pb::OperatorServiceListAuditEventsRequest {
            action: action.to_owned(),
            ..Default::default()
        };
        let found = fixture.events(request).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].event, event.event);
        assert_eq!(found[0].event.as_ref().unwrap().resource_id, id);
    }
}

#[rstest]
#[tokio::test]
async fn organizations_are_listed_with_what_they_have(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let owner = verified_user(server).await;
    let (id, other) = (create(&owner).await.id, create(&owner).await.id);
    let (_, key) = create_project(&owner, &id).await.unwrap();
    create_project(&owner, &id).await.unwrap();
    server.media_server().await.live(&key, "c1").await;
    let member = join(server, &owner, &id, Role::Viewer).await;

    let all = list(
        &fixture,
        pb::OperatorServiceListOrganizationsRequest::default(),
    )
    .await;
    let ids: Vec<_> = all.iter().map(|one| &*one.id).collect();
    assert_eq!(ids, [&*other, &*id], "personal ones are not among them");
    let counts = |one: &pb::OrganizationAccount| {
        (one.member_count, one.project_count, one.live_stream_count)
    };
    assert_eq!(counts(&all[0]), (1, 0, 0));
    assert_eq!(counts(&all[1]), (2, 2, 1));
    assert_eq!(all[1].display_name, "Studio");
    let of_member = pb::OperatorServiceListOrganizationsRequest {
        user_id: member.user.id.clone(),
        ..Default::default()
    };
    assert_eq!(list(&fixture, of_member).await, all[1..]);

    let unknown = refused(
        suspend(&fixture, &uuid::Uuid::now_v7().to_string())
            .await
            .map(tonic::Response::new),
    );
    assert_eq!(unknown.class(), NOT_FOUND);
    for result in [
        suspend(&fixture, &owner.user.id).await,
        resume(&fixture, &owner.user.id).await,
    ] {
        let refusal = refused(result.map(tonic::Response::new));
        let class = (Code::FailedPrecondition, "ORGANIZATION_PERSONAL");
        assert_eq!(refusal.class(), class);
    }
    let refusal = refused(suspend(&fixture, "x").await.map(tonic::Response::new));
    assert_eq!(refusal.fields(), ["organization_id"]);
}
