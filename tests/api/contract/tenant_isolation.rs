//! To every RPC, a resource of another tenant does not exist.

use rstest::rstest;
use sluice::{
    auth::access::{self, RequiredAccess},
    domain::Scope,
    proto::v1 as pb,
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{
    descriptors::request_fields,
    dump::dump,
    id_fields::{IdField, Kind, Resource, create_destination, create_project, id_fields, sign_up},
    raw_rpc::{ObservableError, bearer, call},
};
use crate::{
    auth::{calls, passkey_calls, second_factor_calls},
    harness::{Engine, Postgres, Sqlite, TestServer, User, eventually, refused},
    organization::fixture,
    webhooks::fixture::{create_quiet, plant_delivery},
};

pub const ALL_SCOPES: [&str; 7] = [
    "projects:read",
    "projects:write",
    "streams:read",
    "streams:write",
    "webhooks:read",
    "webhooks:write",
    "usage:read",
];

/// A user with one resource of each type.
struct Owner {
    user: User,
    ids: [(Resource, String); 12],
    /// The access token of an API key that is restricted to another project.
    restricted: String,
}

impl Owner {
    async fn create(server: &TestServer) -> Self {
        let user = server.user().await;
        let (project, stream_key) = user.project().await;
        let (other, _) = user.project().await;
        let request = create_destination(project.id.clone(), String::new());
        let mut projects = user.client.project.clone();
        let answer = projects.create_destination(request).await.unwrap();
        let destination = answer.into_inner().destination.unwrap();
        let stream = server.media_server().await.live(&stream_key, "c1").await;
        let session = another_session(server, &user).await;
        let webhook = create_quiet(&user, &project.id, true).await;
        // The event of the project's creation.
        let delivery = plant_delivery(&server.database, &webhook.id, &project.id, 1, "failed");
        let delivery = delivery.await;
        let restricted = api_key_token(server, &user, vec![other.id]).await;
        let (authenticator, codes) = second_factor_calls::enrol(&user).await;
        let passkey = passkey_calls::register_another(&user, &codes[0]).await;
        fixture::verify(&server.database, &user).await;
        let organization = fixture::create(&user).await;
        // Its owner can adopt it.
        let request = pb::CreateApiKeyRequest {
            organization_id: organization.id.clone(),
            ..calls::api_key_request(&["projects:read"])
        };
        let (api_key, _) = calls::new_api_key(&user, request).await;
        let invitation = invite(&user, &organization.id).await;
        server.database.wait_for_empty_outbox().await;
        let ids = [
            (Resource::Project, project.id),
            (Resource::Destination, destination.id),
            (Resource::Stream, stream.id),
            (Resource::Session, session),
            (Resource::ApiKey, api_key.id),
            (Resource::SecondFactor, authenticator.id),
            (Resource::Passkey, passkey.id),
            (Resource::Webhook, webhook.id),
            (Resource::WebhookDelivery, delivery),
            (Resource::Organization, organization.id),
            (Resource::Invitation, invitation),
            (Resource::Member, user.user.id.clone()),
        ];
        Self {
            user,
            ids,
            restricted,
        }
    }

    fn id(&self, resource: Resource) -> &str {
        let found = self.ids.iter().find(|(of, _)| *of == resource);
        &found.unwrap().1
    }
}

/// The id of an invitation to an organization of a user.
async fn invite(user: &User, organization_id: &str) -> String {
    let email = "invited@example.com";
    let role = pb::OrganizationRole::Viewer;
    let invitation = fixture::invite(user, organization_id, email, role).await;
    invitation.unwrap().id
}

/// The id of another session of a user.
pub async fn another_session(server: &TestServer, user: &User) -> String {
    calls::new_session(server, user).await;
    let mut auth = user.client.auth.clone();
    let answer = auth.list_sessions(pb::ListSessionsRequest::default()).await;
    let sessions = answer.unwrap().into_inner().sessions;
    let other = sessions.into_iter().find(|session| !session.current);
    other.unwrap().id
}

/// The access token of an API key of a user, for these projects or for all.
async fn api_key_token(server: &TestServer, user: &User, project_ids: Vec<String>) -> String {
    let request = pb::CreateApiKeyRequest {
        project_ids,
        ..calls::api_key_request(&ALL_SCOPES)
    };
    let (_, secret) = calls::new_api_key(user, request).await;
    calls::api_key_token(server, &secret).await
}

async fn send(
    server: &TestServer,
    path: &str,
    token: &str,
    request: Vec<u8>,
) -> Result<Response<Vec<u8>>, Status> {
    call(&server.channel, path, &[bearer(token)], request).await
}

/// The error of an RPC for a resource that its caller cannot see; `is_user` distinguishes
/// users from API keys.
fn expected(path: &str, is_user: bool) -> (Code, &'static str) {
    match access::required_access(path).unwrap() {
        RequiredAccess::Session if !is_user => (Code::PermissionDenied, "SESSION_REQUIRED"),
        RequiredAccess::Scopes([Scope::StreamsPublish | Scope::RelaysWork]) => {
            (Code::PermissionDenied, "SCOPE_MISSING")
        }
        _ => (Code::NotFound, "RESOURCE_NOT_FOUND"),
    }
}

#[test]
fn every_id_field_is_tested_and_no_entry_is_stale() {
    let takes_id = |name: &str| name == "id" || name.ends_with("_id") || name.ends_with("_ids");
    let mut described = request_fields(|field| takes_id(field.name()));
    let mut entries: Vec<_> = id_fields().iter().map(|field| field.name).collect();

    described.sort_unstable();
    entries.sort_unstable();
    assert_eq!(entries, described);
}

#[rstest]
#[tokio::test]
async fn every_rpc_treats_the_id_of_another_tenant_like_an_unknown_id(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let stranger = server.user().await;
    let program = api_key_token(&server, &stranger, Vec::new()).await;
    let operator = server.operator_token(&[Scope::StreamsPublish]).await;

    for field in id_fields() {
        let Some(resource) = field.resource() else {
            continue;
        };
        let owner = Owner::create(&server).await;
        let id = owner.id(resource);
        // The rows of what an owner has deleted disappear by themselves.
        eventually("no row is going to be deleted", async || {
            let deleted = "select (select count(*) from destinations where delete_time is not null)
                + (select count(*) from organizations where delete_time is not null)
                + (select count(*) from webhooks where delete_time is not null)";
            (server.database.number(deleted).await == 0).then_some(())
        })
        .await;
        let before = dump(&server.database).await;

        for (caller, token) in [
            ("a stranger", &stranger.tokens.access_token),
            ("an API key of a stranger", &program),
            ("an API key for another project", &owner.restricted),
        ] {
            assert_hidden(&server, &field, caller, token, id).await;
        }
        // None of these calls may write anything, not even an audit event.
        assert_eq!(dump(&server.database).await, before, "{}", field.name);

        // The owner can, with the same request if it refers to no other resource.
        if !matches!(field.kind, Kind::Owned(_)) {
            continue;
        }
        let token = match access::required_access(field.path()) {
            Some(RequiredAccess::Scopes([Scope::StreamsPublish])) => &operator,
            _ => &owner.user.tokens.access_token,
        };
        let answer = send(&server, field.path(), token, (field.request)(id.to_owned())).await;
        if field.path().ends_with("/CheckDestination") {
            // It was found, and no edge is connected.
            assert_eq!(refused(answer).reason, "NO_RELAY_WORKER");
            continue;
        }
        answer.expect(field.name);
    }
}

/// No user reaches a resource through the RPCs of operators, not even an own one.
#[rstest]
#[tokio::test]
async fn no_user_and_no_key_of_a_user_can_call_an_rpc_of_operators(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = Owner::create(&server).await;
    let program = api_key_token(&server, &owner.user, Vec::new()).await;
    let media = server
        .operator_token(&[Scope::StreamsPublish, Scope::RelaysWork])
        .await;
    let paths = access::METHODS.iter().map(|(path, _)| *path);
    let of_operators: Vec<_> = paths
        .filter(|path| path.starts_with("/sluice.v1.OperatorService/"))
        .collect();
    assert_eq!(of_operators.len(), 13);
    let before = dump(&server.database).await;

    for path in of_operators {
        let tokens = [
            &owner.user.tokens.access_token,
            &program,
            &owner.restricted,
            &media,
        ];
        for token in tokens {
            let refusal = refused(send(&server, path, token, Vec::new()).await);
            let class = (Code::PermissionDenied, "SCOPE_MISSING");
            assert_eq!(refusal.class(), class, "{path}");
        }
    }
    assert_eq!(dump(&server.database).await, before);
}

/// A caller gets the same error for the id of another tenant and for an unknown id.
async fn assert_hidden(
    server: &TestServer,
    field: &IdField,
    caller: &str,
    token: &str,
    theirs: &str,
) {
    let mut errors = Vec::new();
    let unknown = Uuid::now_v7().to_string();
    for id in [theirs, &unknown] {
        let request = (field.request)(id.to_owned());
        let answer = send(server, field.path(), token, request).await;
        let status = answer.expect_err(field.name);
        let details = status.get_error_details();
        let class = (status.code(), &*details.error_info().unwrap().reason);
        let is_user = caller == "a stranger";
        let what = format!("{} called by {caller}", field.name);
        assert_eq!(class, expected(field.path(), is_user), "{what}");
        errors.push((ObservableError::of(&status).with_id_masked(id), what));
    }
    assert_eq!(errors[0], errors[1]);
}

/// Request ids are scoped to their caller.
#[rstest]
#[tokio::test]
async fn the_request_id_of_another_user_returns_nothing_of_theirs(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (mut owner, mut stranger) = (server.user().await, server.user().await);
    let request_id = Uuid::now_v7().to_string();

    let request = create_project(request_id.clone());
    let theirs = owner.client.project.create_project(request.clone()).await;
    let ours = stranger.client.project.create_project(request).await;
    let (theirs, ours) = (theirs.unwrap().into_inner(), ours.unwrap().into_inner());
    let (their_project, our_project) = (theirs.project.unwrap(), ours.project.unwrap());
    assert_ne!(their_project.id, our_project.id);
    assert_ne!(theirs.stream_key, ours.stream_key);

    let request_id = Uuid::now_v7().to_string();
    let request = create_destination(their_project.id, request_id.clone());
    let theirs = owner.client.project.create_destination(request).await;
    let request = create_destination(our_project.id, request_id);
    let ours = stranger.client.project.create_destination(request).await;
    let id = |answer: Result<Response<pb::CreateDestinationResponse>, _>| {
        answer.unwrap().into_inner().destination.unwrap().id
    };
    assert_ne!(id(theirs), id(ours));
}

/// A sign-up has no caller yet, so its request ids are not scoped: one that was used for
/// another account is an invalid field, and reveals nothing.
#[rstest]
#[tokio::test]
async fn the_request_id_of_another_sign_up_returns_no_session(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let request_id = Uuid::now_v7().to_string();
    let mut auth = server.anonymous().auth;
    auth.sign_up(sign_up("owner", request_id.clone()))
        .await
        .unwrap();
    eventually("the message to the owner is sent", async || {
        let waiting = server.database.number("select count(*) from outbox").await;
        (waiting == 0).then_some(())
    })
    .await;
    let before = dump(&server.database).await;

    let refusal = refused(auth.sign_up(sign_up("stranger", request_id)).await);

    assert_eq!(refusal.fields(), ["request_id"]);
    assert!(!format!("{refusal:?}").contains("owner"));
    assert_eq!(dump(&server.database).await, before);
}
