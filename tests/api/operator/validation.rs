use std::time::SystemTime;

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Code;
use uuid::Uuid;

use super::fixture::{Fixture, key_request};
use crate::harness::{Engine, Postgres, Sqlite, refused};

#[rstest]
#[tokio::test]
async fn all_invalid_fields_of_a_new_key_are_named_at_once_and_nothing_is_created(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let wrong = pb::CreateOperatorKeyRequest {
        display_name: String::new(),
        scopes: vec!["projects:read".to_owned()],
        expire_time: Some(SystemTime::UNIX_EPOCH.into()),
        node_id: "a b".to_owned(),
        request_id: "1".to_owned(),
    };
    let mut operator = fixture.operator.operator.clone();

    let refusal = refused(operator.create_operator_key(wrong).await);

    let fields = [
        "display_name",
        "expire_time",
        "node_id",
        "request_id",
        "scopes",
    ];
    assert_eq!(refusal.fields(), fields);
    let query = "select count(*) from api_keys";
    assert_eq!(fixture.server.database.number(query).await, 1);
}

#[tokio::test]
async fn only_the_keys_of_media_servers_and_workers_are_bound_to_a_node() {
    let fixture = Fixture::start(Sqlite).await;
    for scopes in [
        &[Scope::OperatorRead][..],
        &[Scope::StreamsPublish, Scope::OperatorWrite],
    ] {
        let request = pb::CreateOperatorKeyRequest {
            node_id: "n1".to_owned(),
            ..key_request(scopes)
        };
        let mut operator = fixture.operator.operator.clone();
        let refusal = refused(operator.create_operator_key(request).await);
        assert_eq!(refusal.fields(), ["node_id"]);
    }
}

#[tokio::test]
async fn a_key_has_at_least_one_scope() {
    let fixture = Fixture::start(Sqlite).await;
    let mut operator = fixture.operator.operator.clone();

    let refusal = refused(operator.create_operator_key(key_request(&[])).await);

    assert_eq!(refusal.fields(), ["scopes"]);
}

#[tokio::test]
async fn the_invalid_filters_of_a_list_are_named_at_once() {
    let fixture = Fixture::start(Sqlite).await;
    let mut operator = fixture.operator.operator.clone();
    let bad_time = Some(prost_types::Timestamp {
        seconds: 0,
        nanos: -1,
    });
    let (page_size, page_token) = (-1, "x".to_owned());

    let request = pb::ListOperatorKeysRequest {
        state: 99,
        node_id: "a b".to_owned(),
        page_size,
        page_token: page_token.clone(),
    };
    let refusal = refused(operator.list_operator_keys(request).await);
    let fields = ["node_id", "page_size", "page_token", "state"];
    assert_eq!(refusal.fields(), fields);

    let request = pb::ListUsersRequest {
        email: "nobody".to_owned(),
        state: 99,
        created_after: bad_time,
        created_before: bad_time,
        page_size,
        page_token: page_token.clone(),
    };
    let refusal = refused(operator.list_users(request).await);
    let fields = [
        "created_after",
        "created_before",
        "email",
        "page_size",
        "page_token",
        "state",
    ];
    assert_eq!(refusal.fields(), fields);

    let request = pb::ListNodesRequest {
        reported_after: bad_time,
        page_size,
        page_token: page_token.clone(),
    };
    let refusal = refused(operator.list_nodes(request).await);
    let fields = ["page_size", "page_token", "reported_after"];
    assert_eq!(refusal.fields(), fields);

    let request = pb::ListWorkersRequest {
        node_id: "a b".to_owned(),
        page_size,
        page_token: page_token.clone(),
    };
    let refusal = refused(operator.list_workers(request).await);
    assert_eq!(refusal.fields(), ["node_id", "page_size", "page_token"]);

    let request = pb::ListLiveStreamsRequest {
        user_id: "1".to_owned(),
        node_id: "a b".to_owned(),
        page_size,
        page_token: page_token.clone(),
    };
    let refusal = refused(operator.list_live_streams(request).await);
    let fields = ["node_id", "page_size", "page_token", "user_id"];
    assert_eq!(refusal.fields(), fields);

    let request = pb::OperatorServiceListAuditEventsRequest {
        user_id: "1".to_owned(),
        operator_key_id: "1".to_owned(),
        action: "Drop table".to_owned(),
        created_after: bad_time,
        created_before: bad_time,
        page_size,
        page_token,
    };
    let refusal = refused(operator.list_audit_events(request).await);
    let fields = [
        "action",
        "created_after",
        "created_before",
        "operator_key_id",
        "page_size",
        "page_token",
        "user_id",
    ];
    assert_eq!(refusal.fields(), fields);
}

#[tokio::test]
async fn a_malformed_id_is_an_invalid_field() {
    let fixture = Fixture::start(Sqlite).await;
    let mut operator = fixture.operator.operator.clone();
    let id = || "1".to_owned();

    let request = pb::RevokeOperatorKeyRequest {
        operator_key_id: id(),
        include_created: false,
    };
    let refusal = refused(operator.revoke_operator_key(request).await);
    assert_eq!(refusal.fields(), ["operator_key_id"]);
    let refusal = refused(
        operator
            .get_user(pb::GetUserRequest { user_id: id() })
            .await,
    );
    assert_eq!(refusal.fields(), ["user_id"]);
    let refusal = refused(fixture.suspend("1").await);
    assert_eq!(refusal.fields(), ["user_id"]);
    let refusal = refused(fixture.resume("1").await);
    assert_eq!(refusal.fields(), ["user_id"]);
}

#[rstest]
#[tokio::test]
async fn an_unknown_user_is_not_found(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let unknown = Uuid::now_v7().to_string();
    let not_found = (Code::NotFound, "RESOURCE_NOT_FOUND");

    let request = pb::GetUserRequest {
        user_id: unknown.clone(),
    };
    let mut operator = fixture.operator.operator.clone();
    let refusal = refused(operator.get_user(request).await);
    assert_eq!(refusal.class(), not_found);
    let refusal = refused(fixture.suspend(&unknown).await);
    assert_eq!(refusal.class(), not_found);
    let refusal = refused(fixture.resume(&unknown).await);
    assert_eq!(refusal.class(), not_found);
}
