use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use rstest::rstest;
use serde_json::{Value, json};

use super::id_token_fixture::{INVALID, IdTokenFixture, sign_in_with_id_token};
use crate::harness::{IssuerKey, Sqlite, refused};

#[rstest]
#[case::rsa(IssuerKey::rsa("k1"))]
#[case::p256(IssuerKey::p256("k1"))]
#[case::ed25519(IssuerKey::ed25519("k1"))]
#[tokio::test]
async fn each_key_type_accepts_only_its_own_algorithm(#[case] key: IssuerKey) {
    let fixture = IdTokenFixture::with_key(Sqlite, key).await;
    let claims = fixture.claims_with(&[]);
    fixture.signed_in(&claims).await;

    for algorithm in [
        "RS256", "ES256", "EdDSA", "RS384", "RS512", "PS256", "ES384", "HS256", "HS512", "none",
        "None", "",
    ] {
        let header = json!({"alg": algorithm, "kid": "k1", "typ": "JWT"});
        let token = fixture.key.sign_with(&header, &claims);
        let answer = sign_in_with_id_token(&fixture.server.channel, &token, "").await;
        match algorithm == fixture.key.algorithm() {
            true => assert!(answer.is_ok(), "{algorithm}"),
            false => assert_eq!(refused(answer).class(), INVALID, "{algorithm}"),
        }
    }
}

/// Algorithm confusion (RFC 8725 section 2.1).
#[tokio::test]
async fn an_hmac_keyed_with_the_public_key_is_refused() {
    let fixture = IdTokenFixture::with_key(Sqlite, IssuerKey::rsa("k1")).await;
    let jwk = fixture.key.jwk();
    let n = jwk["n"].as_str().unwrap();
    let header = json!({"alg": "HS256", "kid": "k1", "typ": "JWT"});
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", encode(&header), encode(&fixture.claims_with(&[])));

    let decoded = URL_SAFE_NO_PAD.decode(n).unwrap();
    for secret in [n.as_bytes(), &decoded, jwk.to_string().as_bytes(), b""] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
        let token = format!("{message}.{mac}");
        let refusal = refused(sign_in_with_id_token(&fixture.server.channel, &token, "").await);
        assert_eq!(refusal.class(), INVALID);
    }
}

#[tokio::test]
async fn unsigned_and_wrongly_signed_tokens_are_refused() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    let claims = fixture.claims_with(&[]);
    let good = fixture.key.sign(&claims);
    let parts: Vec<_> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let admin = URL_SAFE_NO_PAD.encode(fixture.claims_with(&[("sub", json!("admin"))]).to_string());
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[10] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(flipped);
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);

    for token in [
        IssuerKey::p256("k1").sign(&claims),
        IssuerKey::ed25519("k1").sign(&claims),
        format!("{unsigned}.{payload}."),
        format!("{unsigned}.{payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{admin}.{signature}"),
        format!("{header}.{payload}.{flipped}"),
        format!("{header}.{payload}.{zeros}"),
        format!("{header}.{payload}.{signature}="),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!(".{good}"),
        format!("{header}..{signature}"),
        "..".to_owned(),
        "x".to_owned(),
        "{}".to_owned(),
    ] {
        let refusal = refused(sign_in_with_id_token(&fixture.server.channel, &token, "").await);
        assert_eq!(refusal.class(), INVALID, "{token}");
    }
    sign_in_with_id_token(&fixture.server.channel, &good, "")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_token_header_can_only_select_an_issuer_key() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    let claims = fixture.claims_with(&[]);
    let theirs = IssuerKey::p256("k1");
    let uri = format!("{}/theirs", fixture.issuer.url);
    let set = json!({"keys": [theirs.jwk()]}).to_string();
    fixture.issuer.set_response("/theirs", "200 OK", "", &set);
    let header = |more: Value| {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        let more = more.as_object().unwrap().clone();
        header.as_object_mut().unwrap().extend(more);
        header
    };

    for accepted in [json!({}), json!({"typ": "jwt"}), json!({"jku": uri})] {
        let token = fixture.key.sign_with(&header(accepted.clone()), &claims);
        let answer = sign_in_with_id_token(&fixture.server.channel, &token, "").await;
        assert!(answer.is_ok(), "{accepted}");
    }
    for (key, more) in [
        (&fixture.key, json!({"typ": "at+jwt"})),
        (&fixture.key, json!({"typ": "logout+jwt"})),
        (&fixture.key, json!({"typ": 1})),
        (&fixture.key, json!({"crit": ["exp"]})),
        (&fixture.key, json!({"kid": "k2"})),
        (&fixture.key, json!({"kid": 1})),
        (&theirs, json!({"jku": uri})),
        (&theirs, json!({"jwk": theirs.jwk()})),
    ] {
        let token = key.sign_with(&header(more.clone()), &claims);
        let refusal = refused(sign_in_with_id_token(&fixture.server.channel, &token, "").await);
        assert_eq!(refusal.class(), INVALID, "{more}");
    }
    assert_eq!(fixture.issuer.request_count("/theirs"), 0);
}

#[tokio::test]
async fn a_token_without_a_key_id_is_verified_by_the_only_key_of_its_algorithm() {
    let (first, rsa) = (IssuerKey::p256("k1"), IssuerKey::rsa("k2"));
    let fixture = IdTokenFixture::with_key(Sqlite, first).await;
    fixture
        .issuer
        .publish(&[&fixture.key, &rsa], "max-age=3600");
    let claims = fixture.claims_with(&[]);
    let (es256, rs256) = (json!({"alg": "ES256"}), json!({"alg": "RS256"}));

    for token in [
        fixture.key.sign_with(&es256, &claims),
        rsa.sign_with(&rs256, &claims),
    ] {
        sign_in_with_id_token(&fixture.server.channel, &token, "")
            .await
            .unwrap();
    }
    let token = IssuerKey::p256("k1").sign_with(&es256, &claims);
    let refusal = refused(sign_in_with_id_token(&fixture.server.channel, &token, "").await);
    assert_eq!(refusal.class(), INVALID);

    // Now two keys have this algorithm; the token with the new key id refreshes the cache.
    let second = IssuerKey::p256("k3");
    fixture
        .issuer
        .publish(&[&fixture.key, &second], "max-age=3600");
    let named = sign_in_with_id_token(&fixture.server.channel, &second.sign(&claims), "").await;
    named.unwrap();
    for key in [&fixture.key, &second] {
        let token = key.sign_with(&es256, &claims);
        let refusal = refused(sign_in_with_id_token(&fixture.server.channel, &token, "").await);
        assert_eq!(refusal.class(), INVALID);
    }
}

#[tokio::test]
async fn a_key_for_another_use_or_algorithm_is_not_used() {
    for (member, value) in [
        ("use", json!("enc")),
        ("alg", json!("RS512")),
        ("alg", json!("RSA-OAEP-256")),
    ] {
        let fixture = IdTokenFixture::with_key(Sqlite, IssuerKey::rsa("k1")).await;
        let mut jwk = fixture.key.jwk();
        jwk[member] = value;
        let set = json!({"keys": [jwk]});
        fixture.issuer.publish_jwks(&set, "max-age=3600");

        let refusal = refused(fixture.sign_in(&fixture.claims_with(&[])).await);
        assert_eq!(refusal.class(), INVALID, "{jwk}");
    }
}
