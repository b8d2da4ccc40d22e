use prost_types::Timestamp;
use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Response, Status};

use super::calls::{api_key_request, create_api_key, exchange_api_key, masked, new_api_key};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer, User, refused};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

async fn revoke(user: &User, id: &str) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
    let request = pb::RevokeApiKeyRequest {
        api_key_id: id.to_owned(),
        ..Default::default()
    };
    user.client.auth.clone().revoke_api_key(request).await
}

async fn keys(user: &User) -> Vec<pb::ApiKey> {
    let request = pb::ListApiKeysRequest::default();
    let answer = user.client.auth.clone().list_api_keys(request).await;
    answer.unwrap().into_inner().api_keys
}

/// Seconds since 1970.
fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// The last second of the year 9999.
const LATEST: i64 = 253_402_300_799;

#[rstest]
#[tokio::test]
async fn a_new_key_has_the_requested_fields_and_its_secret_contains_its_id(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let ((first, _), (second, _)) = (ada.project().await, ada.project().await);

    let request = pb::CreateApiKeyRequest {
        display_name: " Zoe\u{308}'s bot 🎮 ".to_owned(),
        scopes: ["streams:read", "projects:read", "streams:read"]
            .map(str::to_owned)
            .to_vec(),
        project_ids: vec![second.id.clone(), first.id.clone(), second.id.clone()],
        expire_time: at(LATEST),
        ..Default::default()
    };
    let (made, secret) = new_api_key(&ada, request).await;

    let expected = pb::ApiKey {
        id: made.id.clone(),
        display_name: "Zo\u{eb}'s bot 🎮".to_owned(),
        scopes: ["projects:read", "streams:read"]
            .map(str::to_owned)
            .to_vec(),
        project_ids: vec![first.id, second.id],
        expire_time: at(LATEST),
        last_used_time: None,
        create_time: made.create_time,
        restricted: true,
        organization_id: ada.user.id.clone(),
        user_id: ada.user.id.clone(),
    };
    assert_eq!(made, expected);
    assert!(made.create_time.is_some());
    let beginning = format!("slk_{}_", made.id.replace('-', ""));
    let random = secret.strip_prefix(&beginning).unwrap();
    assert_eq!(random.len(), 64);
    assert!(random.bytes().all(|digit| digit.is_ascii_hexdigit()));

    assert_eq!(keys(&ada).await, [made]);
}

#[rstest]
#[tokio::test]
async fn no_two_keys_have_the_same_secret(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let (first, one) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let (second, other) = new_api_key(&ada, api_key_request(&["projects:read"])).await;

    assert_ne!(first.id, second.id);
    assert_ne!(one.rsplit_once('_'), other.rsplit_once('_'));
    exchange_api_key(&server.channel, &one).await.unwrap();
    exchange_api_key(&server.channel, &other).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn every_invalid_field_is_named(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let invalid = async |fields: &[&str], change: &dyn Fn(&mut pb::CreateApiKeyRequest)| {
        let mut request = api_key_request(&["projects:read"]);
        change(&mut request);
        let refusal = refused(create_api_key(&ada, request.clone()).await);
        assert_eq!(refusal.fields(), fields, "{request:?}");
    };

    for name in ["", " ", "a\0b", "a\nb", &"é".repeat(101)] {
        let fields = ["display_name"];
        invalid(&fields, &|request| request.display_name = name.to_owned()).await;
    }
    for scopes in [
        &[][..],
        &[""],
        &["everything"],
        &["PROJECTS:READ"],
        &["projects:read streams:read"],
        // Only operators' keys have these.
        &["streams:publish"],
        &["projects:read", "relays:work"],
    ] {
        invalid(&["scopes"], &|request| *request = api_key_request(scopes)).await;
    }
    for id in ["", "x", &project.id.replace('-', "")] {
        let ids = [project.id.clone(), id.to_owned()];
        let fields = ["project_ids[1]"];
        invalid(&fields, &|request| request.project_ids = ids.to_vec()).await;
    }
    let too_many = vec![project.id.clone(); 101];
    let fields = ["project_ids"];
    invalid(&fields, &|request| request.project_ids = too_many.clone()).await;
    let with_nanos = |nanos| {
        Some(Timestamp {
            seconds: LATEST,
            nanos,
        })
    };
    let times = [at(0), at(-1), at(LATEST + 1), at(i64::MAX), at(i64::MIN)];
    for time in times
        .into_iter()
        .chain([with_nanos(-1), with_nanos(i32::MAX)])
    {
        invalid(&["expire_time"], &|request| request.expire_time = time).await;
    }

    let each = ["project_ids[0]", "project_ids[1]"];
    invalid(&each, &|request| request.project_ids = vec!["x".into(); 2]).await;
    let all = ["display_name", "expire_time", "project_ids", "scopes"];
    let everything = pb::CreateApiKeyRequest {
        expire_time: at(0),
        project_ids: too_many,
        ..Default::default()
    };
    invalid(&all, &|request| *request = everything.clone()).await;
    assert_eq!(keys(&ada).await, []);
}

#[rstest]
#[tokio::test]
async fn the_project_of_another_user_is_not_found_like_a_nonexistent_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let ((own, _), (hers, _), (deleted, _)) = (
        ada.project().await,
        grace.project().await,
        ada.project().await,
    );
    let request = pb::DeleteProjectRequest {
        project_id: deleted.id.clone(),
        force: false,
        ..Default::default()
    };
    let mut projects = ada.client.project.clone();
    projects.delete_project(request).await.unwrap();

    let refusal = async |id: &str| {
        let request = pb::CreateApiKeyRequest {
            project_ids: vec![own.id.clone(), id.to_owned()],
            ..api_key_request(&["projects:read"])
        };
        let refusal = refused(create_api_key(&ada, request).await);
        assert_eq!(refusal.class(), NOT_FOUND);
        masked(&refusal, id)
    };
    let unknown = refusal("01890a5d-ac96-774b-bcce-b302099a8057").await;
    assert_eq!(refusal(&hers.id).await, unknown);
    assert_eq!(refusal(&deleted.id).await, unknown);

    assert_eq!(keys(&ada).await, []);
    let links = "select count(*) from api_key_projects";
    assert_eq!(server.database.number(links).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_revoked_key_is_not_listed_and_cannot_be_exchanged(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (revoked, secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let (kept, kept_secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;

    revoke(&ada, &revoked.id).await.unwrap();

    assert_eq!(keys(&ada).await, [kept]);
    let refusal = refused(exchange_api_key(&server.channel, &secret).await);
    let class = (Code::Unauthenticated, "API_KEY_INVALID");
    assert_eq!(refusal.class(), class);
    exchange_api_key(&server.channel, &kept_secret)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn the_key_of_another_user_is_not_found_like_a_nonexistent_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (hers, secret) = new_api_key(&grace, api_key_request(&["projects:read"])).await;
    let (gone, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    revoke(&ada, &gone.id).await.unwrap();
    server.operator(&[Scope::StreamsPublish]).await;

    let refusal = async |id: &str| {
        let refusal = refused(revoke(&ada, id).await);
        assert_eq!(refusal.class(), NOT_FOUND);
        masked(&refusal, id)
    };
    let unknown = refusal("01890a5d-ac96-774b-bcce-b302099a8057").await;
    assert_eq!(refusal(&hers.id).await, unknown);
    assert_eq!(refusal(&gone.id).await, unknown);

    assert_eq!(keys(&ada).await, []);
    assert_eq!(keys(&grace).await, [hers]);
    exchange_api_key(&server.channel, &secret).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_malformed_key_id_is_an_invalid_field(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (own, secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;

    for id in ["", "x", &own.id.replace('-', ""), &secret] {
        let refusal = refused(revoke(&ada, id).await);
        assert_eq!(refusal.fields(), ["api_key_id"]);
    }
    assert_eq!(keys(&ada).await, [own]);
}

/// A replica may accept the access token of an ended session for some seconds. A key that
/// was created with it would outlive the session.
#[rstest]
#[tokio::test]
async fn an_ended_session_cannot_create_a_key_even_where_its_token_is_still_accepted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    // As another replica ends it, before this one is notified.
    let end = "update sessions set revoke_time = create_time";
    server.database.execute(end).await;

    let refusal = refused(create_api_key(&ada, api_key_request(&["projects:read"])).await);

    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refusal.class(), class);
    let keys = "select count(*) from api_keys";
    assert_eq!(server.database.number(keys).await, 0);
}
