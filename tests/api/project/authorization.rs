use std::collections::BTreeSet;

use rstest::rstest;
use sluice::{auth::access, domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::{
    fixtures::{
        api_key_client, create_destination, get_destination, get_project, reveal_stream_key,
        youtube_destination,
    },
    rpc_refusals::{self, RpcRefusal},
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User};

struct Fixture {
    user: User,
    project: pb::Project,
    destination: pb::Destination,
}

/// A user with a project and a destination.
async fn fixture(server: &TestServer) -> Fixture {
    let user = server.user().await;
    let (project, _) = user.project().await;
    let destination = create_destination(&user, youtube_destination(&project)).await;
    let project = get_project(&user, &project).await;
    Fixture {
        user,
        project,
        destination,
    }
}

impl Fixture {
    async fn reads(&self, client: &Client) -> Vec<RpcRefusal> {
        let mut all = rpc_refusals::reads(client, &self.project.id, &self.destination.id).await;
        all.extend(rpc_refusals::reads_without_ids(client).await);
        all
    }

    async fn writes(&self, client: &Client) -> Vec<RpcRefusal> {
        let mut all = rpc_refusals::writes(client, &self.project.id, &self.destination.id).await;
        all.push(rpc_refusals::create_project(client).await);
        all
    }

    /// The refusals of all RPCs of the service.
    async fn all(&self, client: &Client) -> Vec<RpcRefusal> {
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
        assert_eq!(&get_project(user, project).await, project);
        assert_eq!(&get_destination(user, destination).await, destination);
        let query = "select count(*) from projects";
        assert_eq!(server.database.number(query).await, 1);
    }
}

fn assert_scope_missing(refusals: &[RpcRefusal], scope: &str) {
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

#[tokio::test]
async fn every_rpc_needs_a_token() {
    let server = TestServer::start(Sqlite).await;
    let fixture = fixture(&server).await;

    for (rpc, refusal) in fixture.all(&server.anonymous()).await {
        assert_eq!(
            refusal.class(),
            (Code::Unauthenticated, "ACCESS_TOKEN_MISSING"),
            "{rpc}"
        );
    }
    fixture.assert_unchanged(&server).await;
}

#[tokio::test]
async fn every_rpc_refuses_a_forged_token() {
    let server = TestServer::start(Sqlite).await;
    let fixture = fixture(&server).await;
    let token = &fixture.user.tokens.access_token;
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = Client::with_token(&server.channel, &format!("{signed}.{}", "A".repeat(43)));

    for (rpc, refusal) in fixture.all(&forged).await {
        assert_eq!(
            refusal.class(),
            (Code::Unauthenticated, "ACCESS_TOKEN_INVALID"),
            "{rpc}"
        );
    }
    fixture.assert_unchanged(&server).await;
}

#[rstest]
#[tokio::test]
async fn a_read_only_api_key_cannot_change_or_reveal_anything(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let fixture = fixture(&server).await;
    let mut reader = api_key_client(&server, &fixture.user, &["projects:read"], Vec::new()).await;

    assert_scope_missing(&fixture.writes(&reader).await, "projects:write");

    fixture.assert_unchanged(&server).await;
    let request = pb::GetProjectRequest {
        project_id: fixture.project.id.clone(),
        ..Default::default()
    };
    let read = reader.project.get_project(request).await.unwrap();
    assert_eq!(read.into_inner().project, Some(fixture.project));
}

#[rstest]
#[tokio::test]
async fn a_write_only_api_key_cannot_read(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let fixture = fixture(&server).await;
    let mut writer = api_key_client(&server, &fixture.user, &["projects:write"], Vec::new()).await;

    assert_scope_missing(&fixture.reads(&writer).await, "projects:read");

    let request = pb::RevealStreamKeyRequest {
        project_id: fixture.project.id.clone(),
    };
    let revealed = writer.project.reveal_stream_key(request).await.unwrap();
    let key = reveal_stream_key(&fixture.user, &fixture.project).await;
    assert_eq!(revealed.into_inner().stream_key, key);
}

#[tokio::test]
async fn a_media_server_cannot_call_project_rpcs() {
    let server = TestServer::start(Sqlite).await;
    let fixture = fixture(&server).await;
    let media = server.media_server().await;

    assert_scope_missing(&fixture.reads(&media.client).await, "projects:read");
    assert_scope_missing(&fixture.writes(&media.client).await, "projects:write");

    fixture.assert_unchanged(&server).await;
}

/// No command creates such a key, but the database could contain one.
#[tokio::test]
async fn an_operator_owns_no_projects_whatever_its_scopes() {
    let server = TestServer::start(Sqlite).await;
    let fixture = fixture(&server).await;
    let scopes = [Scope::ProjectsRead, Scope::ProjectsWrite];
    let operator = server.operator(&scopes).await;

    let mut refusals =
        rpc_refusals::reads(&operator, &fixture.project.id, &fixture.destination.id).await;
    refusals.extend(fixture.writes(&operator).await);

    for (rpc, refusal) in refusals {
        assert_eq!(
            refusal.class(),
            (Code::PermissionDenied, "SESSION_REQUIRED"),
            "{rpc}"
        );
    }
    fixture.assert_unchanged(&server).await;
}
