use std::collections::BTreeSet;

use rstest::rstest;
use sluice::{auth::access, domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::{
    calls::{self, Refused},
    given::{destination, destination_now, project_now, stream_key_now, youtube},
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User};

struct Owned {
    user: User,
    project: pb::Project,
    destination: pb::Destination,
}

/// A user with a project and a destination.
async fn owned(server: &TestServer) -> Owned {
    let user = server.user().await;
    let (project, _) = user.project().await;
    let destination = destination(&user, youtube(&project)).await;
    let project = project_now(&user, &project).await;
    Owned {
        user,
        project,
        destination,
    }
}

impl Owned {
    async fn reads(&self, client: &Client) -> Vec<Refused> {
        let mut all = calls::reads(client, &self.project.id, &self.destination.id).await;
        all.extend(calls::reads_without_ids(client).await);
        all
    }

    async fn writes(&self, client: &Client) -> Vec<Refused> {
        let mut all = calls::writes(client, &self.project.id, &self.destination.id).await;
        all.push(calls::create_project(client).await);
        all
    }

    /// The refusals of every RPC of the service.
    async fn all(&self, client: &Client) -> Vec<Refused> {
        let mut all = self.reads(client).await;
        all.extend(self.writes(client).await);
        let called: BTreeSet<_> = all.iter().map(|(rpc, _)| *rpc).collect();
        let known = access::METHODS
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("/sluice.v1.ProjectService/"));
        assert_eq!(called, known.collect());
        all
    }

    async fn assert_unchanged(&self, server: &TestServer) {
        let Self {
            user,
            project,
            destination,
        } = self;
        assert_eq!(&project_now(user, project).await, project);
        assert_eq!(&destination_now(user, destination).await, destination);
        let query = "select count(*) from projects";
        assert_eq!(server.database.number(query).await, 1);
    }
}

/// A client with an API key of the user.
async fn program(server: &TestServer, user: &User, scope: &str) -> Client {
    let request = pb::CreateApiKeyRequest {
        display_name: "program".to_owned(),
        scopes: vec![scope.to_owned()],
        ..Default::default()
    };
    let key = user.client.auth.clone().create_api_key(request).await;
    let request = pb::ExchangeApiKeyRequest {
        secret: key.unwrap().into_inner().secret,
    };
    let answer = server.anonymous().auth.exchange_api_key(request).await;
    let token = answer.unwrap().into_inner().access_token;
    Client::with_token(&server.channel, &token)
}

fn assert_scope_missing(refusals: &[Refused], scope: &str) {
    for (rpc, refusal) in refusals {
        assert_eq!(
            refusal.class(),
            (Code::PermissionDenied, "SCOPE_MISSING"),
            "{rpc}"
        );
        let metadata = &refusal.details.error_info().unwrap().metadata;
        assert_eq!(metadata["scope"], scope, "{rpc}");
    }
}

#[rstest]
#[tokio::test]
async fn every_rpc_needs_a_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owned = owned(&server).await;

    for (rpc, refusal) in owned.all(&server.anonymous()).await {
        assert_eq!(
            refusal.class(),
            (Code::Unauthenticated, "ACCESS_TOKEN_MISSING"),
            "{rpc}"
        );
    }
    owned.assert_unchanged(&server).await;
}

#[rstest]
#[tokio::test]
async fn every_rpc_refuses_a_forged_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owned = owned(&server).await;
    let token = &owned.user.tokens.access_token;
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = Client::with_token(&server.channel, &format!("{signed}.{}", "A".repeat(43)));

    for (rpc, refusal) in owned.all(&forged).await {
        assert_eq!(
            refusal.class(),
            (Code::Unauthenticated, "ACCESS_TOKEN_INVALID"),
            "{rpc}"
        );
    }
    owned.assert_unchanged(&server).await;
}

#[rstest]
#[tokio::test]
async fn a_key_that_may_only_read_changes_and_reveals_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owned = owned(&server).await;
    let mut reader = program(&server, &owned.user, "projects:read").await;

    assert_scope_missing(&owned.writes(&reader).await, "projects:write");

    owned.assert_unchanged(&server).await;
    let request = pb::GetProjectRequest {
        project_id: owned.project.id.clone(),
    };
    let read = reader.project.get_project(request).await.unwrap();
    assert_eq!(read.into_inner().project, Some(owned.project));
}

#[rstest]
#[tokio::test]
async fn a_key_that_may_only_write_reads_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owned = owned(&server).await;
    let mut writer = program(&server, &owned.user, "projects:write").await;

    assert_scope_missing(&owned.reads(&writer).await, "projects:read");

    let request = pb::RevealStreamKeyRequest {
        project_id: owned.project.id.clone(),
    };
    let revealed = writer.project.reveal_stream_key(request).await.unwrap();
    let key = stream_key_now(&owned.user, &owned.project).await;
    assert_eq!(revealed.into_inner().stream_key, key);
}

#[rstest]
#[tokio::test]
async fn a_media_server_may_call_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owned = owned(&server).await;
    let media = server.media_server().await;

    assert_scope_missing(&owned.reads(&media.client).await, "projects:read");
    assert_scope_missing(&owned.writes(&media.client).await, "projects:write");

    owned.assert_unchanged(&server).await;
}

/// No command makes such a key, but the database could hold one.
#[rstest]
#[tokio::test]
async fn an_operator_owns_nothing_whatever_its_scopes(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owned = owned(&server).await;
    let scopes = [Scope::ProjectsRead, Scope::ProjectsWrite];
    let operator = server.operator(&scopes).await;

    let mut refusals = calls::reads(&operator, &owned.project.id, &owned.destination.id).await;
    refusals.extend(owned.writes(&operator).await);

    for (rpc, refusal) in refusals {
        assert_eq!(
            refusal.class(),
            (Code::PermissionDenied, "SESSION_REQUIRED"),
            "{rpc}"
        );
    }
    owned.assert_unchanged(&server).await;
}
