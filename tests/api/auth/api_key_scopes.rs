use rstest::rstest;
use sluice::{
    auth::access::{METHODS, RequiredAccess},
    domain::Scope,
    proto::v1 as pb,
};
use tonic::Code;

use super::calls::{api_key_client, api_key_request, api_key_token, call_rpc, new_api_key};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

/// The access token of a new API key with these scopes.
async fn token(server: &TestServer, user: &User, scopes: &[&str]) -> String {
    let (_, secret) = new_api_key(user, api_key_request(scopes)).await;
    api_key_token(server, &secret).await
}

/// The RPCs that need scopes, by their paths.
fn rpcs() -> impl Iterator<Item = (&'static str, &'static [Scope])> {
    METHODS
        .into_iter()
        .filter_map(|(path, access)| match access {
            RequiredAccess::Scopes(scopes) => Some((path, scopes)),
            RequiredAccess::Public | RequiredAccess::Session => None,
        })
}

#[rstest]
#[tokio::test]
async fn a_read_only_key_cannot_create_a_project(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let mut reader = api_key_client(&server, &ada, api_key_request(&["projects:read"])).await;

    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let refusal = refused(reader.project.create_project(request).await);

    let class = (Code::PermissionDenied, "SCOPE_MISSING");
    assert_eq!(refusal.class(), class);
    let info = refusal.details.error_info().unwrap();
    assert_eq!(info.metadata["scope"], "projects:write");
    let request = pb::ListProjectsRequest::default();
    let answer = reader.project.list_projects(request).await.unwrap();
    assert_eq!(answer.into_inner().projects, []);
}

#[rstest]
#[tokio::test]
async fn every_rpc_requires_each_of_its_scopes_and_accepts_no_other(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    for scope in Scope::USER_SCOPES {
        let others: Vec<_> = Scope::USER_SCOPES
            .into_iter()
            .filter(|other| *other != scope)
            .map(Scope::as_str)
            .collect();
        let without = token(&server, &ada, &others).await;

        for (path, needed) in rpcs().filter(|(_, needed)| needed.contains(&scope)) {
            let needed: Vec<_> = needed.iter().map(|scope| scope.as_str()).collect();
            let with = token(&server, &ada, &needed).await;
            let refusal = refused(call_rpc(&server, path, &without, ()).await);
            let class = (Code::PermissionDenied, "SCOPE_MISSING");
            assert_eq!(refusal.class(), class, "{path}");
            let info = refusal.details.error_info().unwrap();
            assert_eq!(info.metadata["scope"], scope.as_str(), "{path}");

            // The empty request may be invalid.
            if let Err(status) = call_rpc(&server, path, &with, ()).await {
                assert_eq!(status.code(), Code::InvalidArgument, "{path}");
            }
        }
    }
}

/// Predecessor's defect G1: anyone who reached the hooks of media servers could call them.
#[tokio::test]
async fn users_and_their_api_keys_cannot_call_media_server_rpcs() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    let all = token(&server, &ada, &Scope::USER_SCOPES.map(Scope::as_str)).await;

    for (path, _) in rpcs().filter(|(_, needed)| needed.contains(&Scope::StreamsPublish)) {
        for token in [&ada.tokens.access_token, &all] {
            let refusal = refused(call_rpc(&server, path, token, ()).await);
            let class = (Code::PermissionDenied, "SCOPE_MISSING");
            assert_eq!(refusal.class(), class, "{path}");
            let info = refusal.details.error_info().unwrap();
            assert_eq!(info.metadata["scope"], "streams:publish", "{path}");
        }
    }
}
