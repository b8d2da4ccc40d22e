use std::{
    slice,
    time::{Duration, SystemTime},
};

use rstest::rstest;
use sluice::{
    auth::{ApiKeySecret, Keys, Sealer},
    domain::{ApiKeyId, Scope},
    proto::v1 as pb,
};
use tonic::Code;
use uuid::Uuid;

use super::fixture::{Fixture, create, key_request};
use crate::{
    auth::calls::{api_key_request, backdate, exchange_api_key, new_api_key},
    contract::dump::dump,
    harness::{Client, Engine, Pooled, Postgres, Sqlite, config, eventually, exchange, refused},
    relay::fixture::Worker,
};

const INVALID_TOKEN: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
const INVALID_KEY: (Code, &str) = (Code::Unauthenticated, "API_KEY_INVALID");
const OPERATOR: [Scope; 2] = [Scope::OperatorRead, Scope::OperatorWrite];

fn node_key() -> pb::CreateOperatorKeyRequest {
    pb::CreateOperatorKeyRequest {
        node_id: "n1".to_owned(),
        ..key_request(&[Scope::StreamsPublish, Scope::RelaysWork])
    }
}

/// Whether a token lists operator keys, or the refusal.
async fn list(client: &Client) -> Result<(), (Code, String)> {
    let request = pb::ListOperatorKeysRequest::default();
    let answer = client.operator.clone().list_operator_keys(request).await;
    match answer {
        Ok(_) => Ok(()),
        refusal => {
            let refusal = refused(refusal);
            Err((refusal.code, refusal.reason))
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_created_key_is_listed_and_its_secret_is_exchanged_for_its_scopes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;

    let (key, secret) = fixture.create(node_key()).await;

    assert_eq!(key.display_name, "media server 1");
    assert_eq!(key.scopes, ["streams:publish", "relays:work"]);
    assert_eq!(key.node_id, "n1");
    assert_eq!(key.state(), pb::OperatorKeyState::Active);
    assert_eq!(key.creator_key_id, fixture.key_id);
    assert_eq!((key.expire_time, key.last_used_time), (None, None));
    let exchanged = exchange_api_key(&fixture.server.channel, &secret)
        .await
        .unwrap();
    assert_eq!(exchanged.into_inner().scopes, key.scopes);
    let listed = fixture.keys(pb::ListOperatorKeysRequest::default()).await;
    let ids: Vec<_> = listed.iter().map(|key| &*key.id).collect();
    assert_eq!(ids, [&*key.id, &*fixture.key_id]);
    assert!(listed[0].last_used_time.is_some());
    let unused = pb::OperatorKey {
        last_used_time: None,
        ..listed[0].clone()
    };
    assert_eq!(unused, key);
}

#[rstest]
#[tokio::test]
async fn a_list_of_keys_is_filtered_by_state_and_node(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (of_node, _) = fixture.create(node_key()).await;
    let (revoked, _) = fixture.create(node_key()).await;
    fixture.revoke(&revoked.id, false).await;
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let (expired, _) = fixture
        .create(pb::CreateOperatorKeyRequest {
            expire_time: Some(soon.into()),
            ..key_request(&[Scope::StreamsPublish])
        })
        .await;
    backdate(
        &fixture.server.database,
        "api_keys",
        "expire_time",
        "2 hours",
    )
    .await;

    for (state, node_id, expected) in [
        (
            pb::OperatorKeyState::Active,
            "",
            vec![&of_node.id, &fixture.key_id],
        ),
        (pb::OperatorKeyState::Expired, "", vec![&expired.id]),
        (pb::OperatorKeyState::Revoked, "", vec![&revoked.id]),
        (
            pb::OperatorKeyState::Unspecified,
            "n1",
            vec![&revoked.id, &of_node.id],
        ),
        (pb::OperatorKeyState::Active, "n1", vec![&of_node.id]),
        (pb::OperatorKeyState::Active, "n2", vec![]),
    ] {
        let request = pb::ListOperatorKeysRequest {
            state: state.into(),
            node_id: node_id.to_owned(),
            ..Default::default()
        };
        let listed = fixture.keys(request).await;
        let ids: Vec<_> = listed.iter().map(|key| &key.id).collect();
        assert_eq!(ids, expected, "{state:?} {node_id}");
    }
}

#[rstest]
#[tokio::test]
async fn an_expired_key_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let request = pb::CreateOperatorKeyRequest {
        expire_time: Some(soon.into()),
        ..key_request(&[Scope::StreamsPublish])
    };
    let (key, secret) = fixture.create(request).await;
    exchange(&fixture.server.channel, &secret).await;

    backdate(
        &fixture.server.database,
        "api_keys",
        "expire_time",
        "2 hours",
    )
    .await;

    let refusal = refused(exchange_api_key(&fixture.server.channel, &secret).await);
    assert_eq!(refusal.class(), INVALID_KEY);
    let listed = fixture.keys(pb::ListOperatorKeysRequest::default()).await;
    let listed = listed.iter().find(|one| one.id == key.id).unwrap();
    assert_eq!(listed.state(), pb::OperatorKeyState::Expired);
}

#[rstest]
#[tokio::test]
async fn a_revoked_key_is_refused_everywhere_and_its_claims_end(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (key, secret) = fixture
        .create(key_request(&[Scope::OperatorRead, Scope::RelaysWork]))
        .await;
    let token = exchange(&fixture.server.channel, &secret).await;
    let here = Client::with_token(&fixture.server.channel, &token);
    let replica = fixture.server.replica().await;
    let there = Client::with_token(&replica, &token);
    let mut workers = [
        Worker::claim(&here, "w1", "", 1).await,
        Worker::claim(&there, "w2", "", 1).await,
    ];
    assert_eq!(list(&there).await, Ok(()));

    let revoked = fixture.revoke(&key.id, false).await;

    assert_eq!(revoked.revoked_key_ids, slice::from_ref(&key.id));
    let revoked = revoked.operator_key.unwrap();
    assert_eq!(revoked.state(), pb::OperatorKeyState::Revoked);
    assert!(revoked.revoke_time.is_some());
    let refusal = (INVALID_TOKEN.0, INVALID_TOKEN.1.to_owned());
    assert_eq!(list(&here).await, Err(refusal.clone()));
    eventually("the other replica refuses the token", async || {
        let listed = list(&there).await;
        (listed == Err(refusal.clone())).then_some(())
    })
    .await;
    let exchanged = refused(exchange_api_key(&fixture.server.channel, &secret).await);
    assert_eq!(exchanged.class(), INVALID_KEY);
    for worker in &mut workers {
        assert_eq!(worker.ended().await.code(), Code::Unauthenticated);
    }
}

#[rstest]
#[tokio::test]
async fn revoking_a_revoked_key_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (key, _) = fixture.create(node_key()).await;
    let first = fixture.revoke(&key.id, false).await.operator_key;
    let before = dump(&fixture.server.database).await;

    let again = fixture.revoke(&key.id, true).await;

    assert_eq!(again.operator_key, first);
    assert_eq!(again.revoked_key_ids, [""; 0]);
    assert_eq!(dump(&fixture.server.database).await, before);
}

#[rstest]
#[tokio::test]
async fn the_keys_that_a_leaked_key_created_are_revoked_with_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (leaked, secret) = fixture.create(key_request(&OPERATOR)).await;
    let token = exchange(&fixture.server.channel, &secret).await;
    let thief = Client::with_token(&fixture.server.channel, &token);
    let (child, secret) = create(&thief, key_request(&OPERATOR)).await.unwrap();
    let token = exchange(&fixture.server.channel, &secret).await;
    let second = Client::with_token(&fixture.server.channel, &token);
    let (grandchild, _) = create(&second, node_key()).await.unwrap();
    let (other, _) = fixture.create(node_key()).await;

    let mut revoked = fixture.revoke(&leaked.id, true).await.revoked_key_ids;

    revoked.sort_unstable();
    let mut expected = [leaked.id, child.id, grandchild.id];
    expected.sort_unstable();
    assert_eq!(revoked, expected);
    for client in [&thief, &second] {
        let refusal = refused(
            client
                .operator
                .clone()
                .create_operator_key(node_key())
                .await,
        );
        assert_eq!(refusal.class(), INVALID_TOKEN);
    }
    let active = pb::ListOperatorKeysRequest {
        state: pb::OperatorKeyState::Active.into(),
        ..Default::default()
    };
    let active = fixture.keys(active).await;
    let ids: Vec<_> = active.iter().map(|key| &key.id).collect();
    assert_eq!(ids, [&other.id, &fixture.key_id]);
}

#[rstest]
#[tokio::test]
async fn a_revoked_key_creates_no_key_on_a_replica_that_does_not_know_yet(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let statement = "update api_keys set revoke_time = create_time";
    fixture.server.database.execute(statement).await;

    let created = fixture
        .operator
        .operator
        .clone()
        .create_operator_key(node_key())
        .await;

    assert_eq!(refused(created).class(), INVALID_TOKEN);
    let query = "select count(*) from api_keys";
    assert_eq!(fixture.server.database.number(query).await, 1);
}

#[rstest]
#[tokio::test]
async fn an_unknown_key_and_the_key_of_a_user_are_not_found(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let (of_user, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;

    for id in [Uuid::now_v7().to_string(), of_user.id] {
        let request = pb::RevokeOperatorKeyRequest {
            operator_key_id: id,
            include_created: true,
        };
        let mut operator = fixture.operator.operator.clone();
        let refusal = refused(operator.revoke_operator_key(request).await);
        let class = (Code::NotFound, "RESOURCE_NOT_FOUND");
        assert_eq!(refusal.class(), class);
    }
    let query = "select count(*) from api_keys where revoke_time is null";
    assert_eq!(fixture.server.database.number(query).await, 2);
}

#[rstest]
#[tokio::test]
async fn a_repeated_request_gets_the_same_key_and_secret(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let request = pb::CreateOperatorKeyRequest {
        request_id: Uuid::now_v7().to_string(),
        ..node_key()
    };

    let first = fixture.create(request.clone()).await;
    let again = fixture.create(request.clone()).await;

    assert_eq!(again, first);
    exchange(&fixture.server.channel, &first.1).await;
    let listed = fixture.keys(pb::ListOperatorKeysRequest::default()).await;
    assert_eq!(listed.len(), 2);
    let other = pb::CreateOperatorKeyRequest {
        node_id: "n2".to_owned(),
        ..request.clone()
    };
    let mut operator = fixture.operator.operator.clone();
    let refusal = refused(operator.create_operator_key(other).await);
    assert_eq!(refusal.fields(), ["request_id"]);
    // The id belongs to the calling key: another one gets a key of its own.
    let (_, secret) = fixture.create(key_request(&OPERATOR)).await;
    let token = exchange(&fixture.server.channel, &secret).await;
    let colleague = Client::with_token(&fixture.server.channel, &token);
    let theirs = create(&colleague, request).await.unwrap();
    assert_ne!(theirs.0.id, first.0.id);
}

#[rstest]
#[tokio::test]
async fn the_secret_of_a_repeatable_key_is_random_and_stored_sealed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let request = pb::CreateOperatorKeyRequest {
        request_id: Uuid::now_v7().to_string(),
        ..node_key()
    };

    let (key, secret) = fixture.create(request.clone()).await;

    let sealed = "select count(*) from idempotent_creates where length(secret_sealed) > 60";
    assert_eq!(fixture.server.database.number(sealed).await, 1);
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let as_hex = match engine {
        Sqlite => "lower(hex(secret_sealed))",
        Postgres | Pooled => "encode(secret_sealed, 'hex')",
    };
    let clear = format!("select count(*) from idempotent_creates where {as_hex} like '%{hex}%'");
    assert_eq!(fixture.server.database.number(&clear).await, 0);
    let id: ApiKeyId = key.id.parse::<Uuid>().unwrap().into();
    let request_id = request.request_id.parse().unwrap();
    let mut derived = ApiKeySecret::derived(id, request_id, &sealer(&fixture));
    assert!(!derived.any(|derived| derived.expose() == secret));
}

/// The keys with which the server of a fixture seals.
fn sealer(fixture: &Fixture) -> Sealer {
    let config = config(&fixture.server.database, &[]);
    Keys::load(&config.keys()).unwrap().sealer
}

#[rstest]
#[tokio::test]
async fn a_request_of_an_earlier_version_gets_its_derived_secret_again(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let request = pb::CreateOperatorKeyRequest {
        request_id: Uuid::now_v7().to_string(),
        ..node_key()
    };
    let (key, _) = fixture.create(request.clone()).await;
    let id: ApiKeyId = key.id.parse::<Uuid>().unwrap().into();
    let request_id = request.request_id.parse().unwrap();
    let mut derived = ApiKeySecret::derived(id, request_id, &sealer(&fixture));
    let derived = derived.next().unwrap();
    // What that version stored: only the hash of the derived secret.
    let hash: String = derived
        .hash()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (id, hash) = match engine {
        Sqlite => (
            format!("unhex('{}')", id.uuid().simple()),
            format!("unhex('{hash}')"),
        ),
        Postgres | Pooled => (format!("'{}'", key.id), format!("'\\x{hash}'")),
    };
    let database = &fixture.server.database;
    let forget =
        format!("update idempotent_creates set secret_sealed = null where resource_id = {id}");
    database.execute(&forget).await;
    let store = format!("update api_keys set secret_hash = {hash} where id = {id}");
    database.execute(&store).await;

    let (again, secret) = fixture.create(request).await;

    assert_eq!((again.id, secret.as_str()), (key.id, derived.expose()));
    exchange(&fixture.server.channel, &secret).await;
}

#[rstest]
#[tokio::test]
async fn a_key_needs_the_scope_of_each_rpc(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let reader = fixture.server.operator(&[Scope::OperatorRead]).await;
    let writer = fixture.server.operator(&[Scope::OperatorWrite]).await;

    let mut operator = reader.operator.clone();
    let refusal = refused(operator.create_operator_key(node_key()).await);
    assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
    let info = refusal.details.error_info().unwrap();
    assert_eq!(info.metadata["scope"], "operator:write");

    assert_eq!(list(&reader).await, Ok(()));
    let missing = (Code::PermissionDenied, "SCOPE_MISSING".to_owned());
    assert_eq!(list(&writer).await, Err(missing));
}
