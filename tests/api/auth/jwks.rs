use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey},
};
use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tonic::Code;

use super::calls::{api_key_request, exchange_api_key, get_me, new_api_key};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, refused};

/// A new private key in a file: PKCS #8, PEM.
pub fn key_file(directory: &TempDir, name: &str) -> String {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let body = STANDARD.encode(document);
    let path = directory.path().join(name);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&path, pem).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server whose tokens are signed with the first of these keys.
async fn server_with(engine: Engine, files: &[&str]) -> TestServer {
    let flag = format!("--jwt-key-files={}", files.join(","));
    TestServer::start_with(engine, &[&flag]).await
}

async fn jwks(server: &TestServer) -> Vec<pb::JsonWebKey> {
    let mut auth = server.anonymous().auth;
    let answer = auth.get_jwks(pb::GetJwksRequest {}).await;
    answer.unwrap().into_inner().keys
}

/// Header and claims of a token that one of the keys has signed.
fn verified(token: &str, keys: &[pb::JsonWebKey]) -> (Value, Value) {
    let part = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&part(header)).unwrap();
    let key = keys.iter().find(|key| header["kid"] == key.kid).unwrap();
    UnparsedPublicKey::new(&ED25519, part(&key.x))
        .verify(signed.as_bytes(), &part(signature))
        .unwrap();
    (header, serde_json::from_slice(&part(claims)).unwrap())
}

#[tokio::test]
async fn a_server_with_a_shared_secret_publishes_no_key() {
    let server = TestServer::start(Sqlite).await;

    assert_eq!(jwks(&server).await, []);
}

#[tokio::test]
async fn access_tokens_can_be_verified_with_the_published_key() {
    let directory = TempDir::new().unwrap();
    let server = server_with(Sqlite, &[&key_file(&directory, "key.pem")]).await;
    let ada = server.user().await;

    let keys = jwks(&server).await;

    let [key] = &keys[..] else { panic!("{keys:?}") };
    assert_eq!(
        [&*key.kty, &*key.crv, &*key.alg, &*key.r#use],
        ["OKP", "Ed25519", "EdDSA", "sig"]
    );
    let (header, claims) = verified(&ada.tokens.access_token, &keys);
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(claims["iss"], "sluice");
    assert_eq!(claims["aud"], "sluice");
    assert_eq!(claims["sub"], ada.user.id);
    // In whole seconds, rounded up.
    let expiry = ada.tokens.access_token_expire_time.unwrap();
    assert_eq!(claims["exp"], expiry.seconds + i64::from(expiry.nanos > 0));
    get_me(&ada.client).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn the_token_of_an_api_key_names_its_key_and_scopes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let directory = TempDir::new().unwrap();
    let server = server_with(engine, &[&key_file(&directory, "key.pem")]).await;
    let ada = server.user().await;
    let (made, secret) =
        new_api_key(&ada, api_key_request(&["streams:read", "projects:read"])).await;

    let answer = exchange_api_key(&server.channel, &secret).await.unwrap();

    let (_, claims) = verified(&answer.into_inner().access_token, &jwks(&server).await);
    assert_eq!(claims["sub"], ada.user.id);
    assert_eq!(claims["client_id"], made.id);
    assert_eq!(claims["scope"], "projects:read streams:read");
}

/// Keys in the settings are rotated by putting a new one in front of the old one.
#[rstest]
#[tokio::test]
async fn the_old_key_still_verifies_during_a_rotation(#[values(Sqlite, Postgres)] engine: Engine) {
    let directory = TempDir::new().unwrap();
    let (old, new) = (key_file(&directory, "old"), key_file(&directory, "new"));
    let before = server_with(engine, &[&old]).await;
    let during = server_with(engine, &[&new, &old]).await;
    let after = server_with(engine, &[&new]).await;
    let (old, new) = (before.user().await.tokens, during.user().await.tokens);

    let keys = jwks(&during).await;
    assert_eq!(keys, [jwks(&after).await, jwks(&before).await].concat());
    let (header, _) = verified(&new.access_token, &keys);
    assert_eq!(header["kid"], keys[0].kid);
    verified(&old.access_token, &keys);

    // The other servers do not know the accounts, so an accepted token is not found there.
    let unknown = (Code::NotFound, "RESOURCE_NOT_FOUND");
    let invalid = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    for (server, token, class) in [
        (&during, &old, unknown),
        (&after, &new, unknown),
        (&after, &old, invalid),
        (&before, &new, invalid),
    ] {
        let client = Client::with_token(&server.channel, &token.access_token);
        assert_eq!(refused(get_me(&client).await).class(), class);
    }
}
