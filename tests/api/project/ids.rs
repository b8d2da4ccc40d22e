use rstest::rstest;
use tonic::Code;
use uuid::Uuid;

use super::rpc_refusals;
use crate::harness::{Engine, Postgres, Sqlite, TestServer};

#[tokio::test]
async fn a_malformed_id_is_an_invalid_field() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let simple = Uuid::now_v7().simple().to_string();

    for id in ["", "1", "x".repeat(36).as_str(), &simple, "' or 1=1 --"] {
        for (rpc, refusal) in rpc_refusals::with_ids(&user.client, id, id).await {
            let names_destination = [
                "CheckDestination",
                "GetDestination",
                "UpdateDestination",
                "DeleteDestination",
            ]
            .contains(&rpc);
            let field = if names_destination {
                "destination_id"
            } else {
                "project_id"
            };
            assert_eq!(refusal.fields(), [field], "{rpc} {id:?}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn an_unknown_id_is_not_found(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    for id in [Uuid::now_v7(), Uuid::nil(), Uuid::max()] {
        let id = id.to_string();
        for (rpc, refusal) in rpc_refusals::with_ids(&user.client, &id, &id).await {
            assert_eq!(
                refusal.class(),
                (Code::NotFound, "RESOURCE_NOT_FOUND"),
                "{rpc}"
            );
            let resource = refusal.details.resource_info().unwrap();
            assert_eq!(resource.resource_name, id, "{rpc}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn an_id_is_accepted_in_upper_and_lower_case(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;

    let request = sluice::proto::v1::GetProjectRequest {
        project_id: project.id.to_uppercase(),
        ..Default::default()
    };
    let answer = user.client.project.get_project(request).await.unwrap();

    assert_eq!(answer.into_inner().project, Some(project));
}
