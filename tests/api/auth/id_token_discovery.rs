use rstest::rstest;
use serde_json::json;

use super::id_token_fixture::{IdTokenFixture, UNAVAILABLE, sign_in_with_id_token};
use crate::harness::{
    DISCOVERY, Engine, Issuer, IssuerKey, JWKS, Postgres, Sqlite, TestServer, refused,
};

#[tokio::test]
async fn untrusted_discovery_and_key_documents_are_not_used() {
    type Corruption = fn(&Issuer, &str);
    let corruptions: [(&str, Corruption); 8] = [
        ("of another issuer", |issuer, keys| {
            discovery(issuer, "https://id.acme.com", keys);
        }),
        ("of nearly this issuer", |issuer, keys| {
            discovery(issuer, &format!("{}/", issuer.url), keys);
        }),
        ("keys without https", |issuer, keys| {
            discovery(issuer, &issuer.url, &keys.replace("127.0.0.1", "0.0.0.0"));
        }),
        ("keys over a redirect", |issuer, keys| {
            let location = format!("Location: {}", keys.replace(JWKS, "/elsewhere"));
            issuer.set_response("/elsewhere", "200 OK", "", &issuer_keys());
            issuer.set_response(JWKS, "302 Found", &location, &issuer_keys());
        }),
        ("keys with an error", |issuer, _| {
            let keys = issuer_keys();
            issuer.set_response(JWKS, "503 Service Unavailable", "", &keys);
        }),
        ("keys that are no JSON", |issuer, _| {
            issuer.set_response(JWKS, "200 OK", "", "<html>");
        }),
        ("keys that do not end", |issuer, _| {
            let keys = format!("{}{}", issuer_keys(), " ".repeat(256 * 1024));
            issuer.set_response(JWKS, "200 OK", "", &keys);
        }),
        ("discovery that is no JSON", |issuer, _| {
            issuer.set_response(DISCOVERY, "200 OK", "", "[]");
        }),
    ];
    for (what, corrupt) in corruptions {
        let fixture = IdTokenFixture::with_key(Sqlite, IssuerKey::rsa("k1")).await;
        corrupt(&fixture.issuer, &format!("{}{JWKS}", fixture.issuer.url));

        let refusal = refused(fixture.sign_in(&fixture.claims_with(&[])).await);
        assert_eq!(refusal.class(), UNAVAILABLE, "{what}");
        assert_eq!(
            refusal.message,
            "the issuer of the id token cannot be reached"
        );
        assert_eq!(fixture.issuer.request_count("/elsewhere"), 0, "{what}");
    }
}

fn discovery(issuer: &Issuer, named: &str, jwks_uri: &str) {
    let document = json!({"issuer": named, "jwks_uri": jwks_uri});
    issuer.set_response(DISCOVERY, "200 OK", "", &document.to_string());
}

fn issuer_keys() -> String {
    json!({"keys": [IssuerKey::rsa("k1").jwk()]}).to_string()
}

#[tokio::test]
async fn a_key_document_of_the_maximum_size_is_used() {
    let fixture = IdTokenFixture::with_key(Sqlite, IssuerKey::rsa("k1")).await;
    let keys = issuer_keys();
    let padding = " ".repeat(256 * 1024 - keys.len());
    fixture
        .issuer
        .set_response(JWKS, "200 OK", "", &format!("{keys}{padding}"));

    fixture.signed_in(&fixture.claims_with(&[])).await;
}

/// OpenID Connect Discovery section 4.1: the slash at the end is left out.
#[rstest]
#[case("/realms/acme")]
#[case("/")]
#[tokio::test]
async fn an_issuer_may_have_a_path(#[values(Sqlite, Postgres)] engine: Engine, #[case] path: &str) {
    let key = IssuerKey::p256("k1");
    let issuer = Issuer::start(&[&key]).await;
    let named = format!("{}{path}", issuer.url);
    let document = json!({"issuer": named, "jwks_uri": format!("{}{JWKS}", issuer.url)});
    let at = format!("{}{DISCOVERY}", path.trim_end_matches('/'));
    issuer.set_response(&at, "200 OK", "", &document.to_string());
    let setting = format!("--oidc-providers=name=acme,client_id=ours,issuer={named}");
    let server = TestServer::start_with(engine, &[&setting]).await;

    let mut claims = issuer.claims_with_email("ada", "ada@example.com");
    claims["iss"] = json!(named);
    let answer = sign_in_with_id_token(&server.channel, &key.sign(&claims), "").await;
    assert!(answer.unwrap().into_inner().created);
}
