use std::collections::BTreeMap;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use sluice::{
    auth::access::{self, RequiredAccess},
    proto::DESCRIPTORS,
};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::harness::{Sqlite, TestServer, refused};

/// Every RPC of `sluice.v1` by its path, with its comment.
fn rpcs() -> BTreeMap<String, String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    files
        .iter()
        .filter(|file| file.package() == "sluice.v1")
        .flat_map(rpcs_of)
        .collect()
}

fn rpcs_of(file: &FileDescriptorProto) -> Vec<(String, String)> {
    let mut rpcs = Vec::new();
    for (service_at, service) in file.service.iter().enumerate() {
        for (method_at, method) in service.method.iter().enumerate() {
            // Field 6 of a file is its services, field 2 of a service its methods.
            let path = [6, service_at as i32, 2, method_at as i32];
            let locations = &file.source_code_info.as_ref().unwrap().location;
            let location = locations
                .iter()
                .find(|location| location.path == path)
                .unwrap();
            let name = format!("/sluice.v1.{}/{}", service.name(), method.name());
            rpcs.push((name, location.leading_comments().replace('\n', " ")));
        }
    }
    rpcs
}

#[test]
fn every_rpc_has_one_entry_in_the_authorisation_table_and_no_entry_is_stale() {
    let mut entries: Vec<_> = access::METHODS.iter().map(|(path, _)| *path).collect();
    entries.sort_unstable();

    assert_eq!(entries, rpcs().keys().collect::<Vec<_>>());
}

#[test]
fn the_comment_of_every_rpc_states_its_required_access() {
    for (path, comment) in rpcs() {
        let expected = match access::required_access(&path).unwrap() {
            RequiredAccess::Public => "Needs no",
            RequiredAccess::Session => "Needs a user's own token.",
            RequiredAccess::Scopes([scope]) => &format!("Scope `{}`.", scope.as_str()),
            RequiredAccess::Scopes(scopes) => {
                let names: Vec<_> = scopes
                    .iter()
                    .map(|scope| format!("`{}`", scope.as_str()))
                    .collect();
                &format!("Scopes {}.", names.join(" and "))
            }
        };
        assert!(
            comment.contains(expected),
            "{path} does not say {expected:?}: {comment}"
        );
    }
}

/// Calls an RPC by its path with an empty request.
async fn call(client: &mut RawClient, path: &str) -> Result<Response<()>, Status> {
    client.ready().await.unwrap();
    client
        .unary(
            Request::new(()),
            path.parse().unwrap(),
            ProstCodec::<(), ()>::default(),
        )
        .await
}

type RawClient = tonic::client::Grpc<tonic::transport::Channel>;

#[tokio::test]
async fn every_rpc_that_is_not_public_refuses_a_call_without_a_token() {
    let server = TestServer::start(Sqlite).await;
    let mut client = RawClient::new(server.channel.clone());

    let mut refusals = 0;
    for (path, access) in access::METHODS {
        if access == RequiredAccess::Public {
            continue;
        }
        let refusal = refused(call(&mut client, path).await);
        assert_eq!(
            refusal.class(),
            (Code::Unauthenticated, "ACCESS_TOKEN_MISSING"),
            "{path}"
        );
        refusals += 1;
    }
    assert_eq!(refusals, 97);
}

#[tokio::test]
async fn an_rpc_that_does_not_exist_is_unimplemented() {
    let server = TestServer::start(Sqlite).await;
    let mut client = RawClient::new(server.channel.clone());

    for path in [
        "/sluice.v1.AuthService/Nothing",
        "/sluice.v2.AuthService/SignIn",
        "/x/y",
    ] {
        let refusal = refused(call(&mut client, path).await);
        let unavailable = (Code::Unimplemented, "METHOD_UNAVAILABLE");
        assert_eq!(refusal.class(), unavailable, "{path}");
    }
}
