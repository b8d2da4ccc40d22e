//! What belongs to another tenant is, to every RPC, what does not exist.

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
    id_fields::{IdField, Kind, Noun, create_destination, create_project, id_fields, sign_up},
    raw_rpc::{Shape, bearer, call},
};
use crate::{
    auth::calls,
    harness::{Engine, Postgres, Sqlite, TestServer, User, eventually, refused},
};

const ALL_SCOPES: [&str; 4] = [
    "projects:read",
    "projects:write",
    "streams:read",
    "streams:write",
];

/// A user with one of everything.
struct Owner {
    user: User,
    ids: [(Noun, String); 5],
    /// The access token of a key for another project.
    restricted: String,
}

impl Owner {
    async fn of(server: &TestServer) -> Self {
        let user = server.user().await;
        let (project, stream_key) = user.project().await;
        let (other, _) = user.project().await;
        let request = create_destination(project.id.clone(), String::new());
        let mut projects = user.client.project.clone();
        let answer = projects.create_destination(request).await.unwrap();
        let destination = answer.into_inner().destination.unwrap();
        let stream = server.media_server().await.live(&stream_key, "c1").await;
        let (api_key, _) = steps::key(&user, steps::key_of(&["projects:read"])).await;
        let session = another_session(server, &user).await;
        let restricted = program(server, &user, vec![other.id]).await;
        let ids = [
            (Noun::Project, project.id),
            (Noun::Destination, destination.id),
            (Noun::Stream, stream.id),
            (Noun::Session, session),
            (Noun::ApiKey, api_key.id),
        ];
        Self {
            user,
            ids,
            restricted,
        }
    }

    fn id(&self, noun: Noun) -> &str {
        let found = self.ids.iter().find(|(of, _)| *of == noun);
        &found.unwrap().1
    }
}

/// The id of another session of a user.
async fn another_session(server: &TestServer, user: &User) -> String {
    steps::session(server, user).await;
    let mut auth = user.client.auth.clone();
    let answer = auth.list_sessions(pb::ListSessionsRequest::default()).await;
    let sessions = answer.unwrap().into_inner().sessions;
    let other = sessions.into_iter().find(|session| !session.current);
    other.unwrap().id
}

/// The access token of a program of a user, for these projects or for all.
async fn program(server: &TestServer, user: &User, project_ids: Vec<String>) -> String {
    let request = pb::CreateApiKeyRequest {
        project_ids,
        ..steps::key_of(&ALL_SCOPES)
    };
    let (_, secret) = steps::key(user, request).await;
    steps::token_of(server, &secret).await
}

async fn send(
    server: &TestServer,
    path: &str,
    token: &str,
    request: Vec<u8>,
) -> Result<Response<Vec<u8>>, Status> {
    call(&server.channel, path, &[bearer(token)], request).await
}

/// How an RPC refuses what a caller cannot see; `is_user` tells users from programs.
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
    let program = program(&server, &stranger, Vec::new()).await;
    let operator = server.operator_token(&[Scope::StreamsPublish]).await;

    for field in id_fields() {
        let (noun, is_alone) = match field.kind {
            Kind::Owned(noun) => (noun, true),
            Kind::OwnedWithAnother(noun) => (noun, false),
            Kind::Request | Kind::Node => continue,
        };
        let owner = Owner::of(&server).await;
        let id = owner.id(noun);
        let before = dump(&server.database).await;

        for (caller, token) in [
            ("a stranger", &stranger.tokens.access_token),
            ("a stranger's program", &program),
            ("a program for another project", &owner.restricted),
        ] {
            assert_hidden(&server, &field, caller, token, id).await;
        }
        // Not even an entry of the audit log: none of these calls may do anything.
        assert_eq!(dump(&server.database).await, before, "{}", field.name);

        // Who may do it can, with the same message if it names nothing else.
        if !is_alone {
            continue;
        }
        let token = match access::required_access(field.path()) {
            Some(RequiredAccess::Scopes([Scope::StreamsPublish])) => &operator,
            _ => &owner.user.tokens.access_token,
        };
        let answer = send(&server, field.path(), token, (field.request)(id.to_owned())).await;
        answer.expect(field.name);
    }
}

/// A caller gets the same answer for an id of another and for one that names nothing.
async fn assert_hidden(
    server: &TestServer,
    field: &IdField,
    caller: &str,
    token: &str,
    theirs: &str,
) {
    let mut shapes = Vec::new();
    let nobodys = Uuid::now_v7().to_string();
    for id in [theirs, &nobodys] {
        let request = (field.request)(id.to_owned());
        let answer = send(server, field.path(), token, request).await;
        let status = answer.expect_err(field.name);
        let details = status.get_error_details();
        let class = (status.code(), &*details.error_info().unwrap().reason);
        let is_user = caller == "a stranger";
        let what = format!("{} called by {caller}", field.name);
        assert_eq!(class, expected(field.path(), is_user), "{what}");
        shapes.push((Shape::of(&status).without(id), what));
    }
    assert_eq!(shapes[0], shapes[1]);
}

/// The names that callers give to their requests are each caller's own.
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

/// A sign-up has no caller yet, so its request id could be anybody's: with another
/// account it is a mistake, and tells no more than that.
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
    eventually("the message to the owner has left", async || {
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
