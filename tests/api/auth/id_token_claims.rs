use rstest::rstest;
use serde_json::{Value, json};
use sluice::domain::now;

use super::id_token_fixture::{INVALID, IdTokenFixture, sign_in_with_id_token};
use crate::harness::{Engine, Postgres, Sqlite, refused};

#[rstest]
#[tokio::test]
async fn valid_claims_are_accepted(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = IdTokenFixture::start(engine).await;
    let time = now().timestamp();

    for changes in [
        &[][..],
        &[("aud", json!("also-ours"))],
        &[("aud", json!(["ours"]))],
        &[("azp", json!("ours"))],
        &[
            ("aud", json!(["ours", "theirs"])),
            ("azp", json!("also-ours")),
        ],
        &[("exp", json!(time - 20))],
        &[("exp", json!(time as f64 + 0.5))],
        &[("iat", json!(time + 20))],
        &[("nbf", json!(time + 20))],
        &[("nbf", json!(time - 3600))],
        &[("nonce", json!(""))],
        &[("sub", json!("é".repeat(255)))],
        &[("email_verified", json!("true"))],
        &[("email_verified", json!(null))],
        &[("name", json!(null))],
        &[("some_claim_of_theirs", json!({"a": [1]}))],
    ] {
        // A new subject and a new address each time.
        let (sub, email) = (
            format!("{changes:?}"),
            format!("{}@example.org", unique_id()),
        );
        let mut claims = fixture.claims_with(&[("sub", json!(sub)), ("email", json!(email))]);
        for (claim, value) in changes {
            claims[*claim] = value.clone();
        }
        assert!(fixture.signed_in(&claims).await.created, "{changes:?}");
    }
}

fn unique_id() -> sluice::domain::UserId {
    sluice::domain::UserId::generate()
}

#[tokio::test]
async fn invalid_claims_are_refused() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    fixture.signed_in(&fixture.claims_with(&[])).await;
    let time = now().timestamp();

    for changes in [
        &[("iss", json!("https://id.acme.com"))][..],
        &[("iss", json!(format!("{}/", fixture.issuer.url)))],
        &[("iss", json!(""))],
        &[("iss", json!([fixture.issuer.url]))],
        &[("aud", json!("theirs"))],
        &[("aud", json!("Ours"))],
        &[("aud", json!(""))],
        &[("aud", json!([]))],
        &[("aud", json!(["theirs", "others"]))],
        &[("aud", json!(["ours", "theirs"]))],
        &[("aud", json!(["ours", "also-ours"]))],
        &[("aud", json!(["ours", 1])), ("azp", json!("ours"))],
        &[("azp", json!("theirs"))],
        &[("azp", json!(""))],
        &[("azp", json!(null))],
        &[("aud", json!("theirs")), ("azp", json!("ours"))],
        &[("exp", json!(time - 31))],
        &[("exp", json!(0))],
        &[("exp", json!((time + 300).to_string()))],
        &[("iat", json!(time + 60))],
        &[("iat", json!(time.to_string()))],
        &[("nbf", json!(time + 60))],
        &[("nbf", json!("now"))],
        &[("nbf", json!(null))],
        &[("sub", json!(""))],
        &[("sub", json!("x".repeat(256)))],
        &[("sub", json!("a\u{0}da"))],
        &[("sub", json!(17))],
        &[("nonce", json!(17))],
        &[("nonce", json!(null))],
        &[("email", json!(17))],
        &[("email", json!(["ada@example.com"]))],
        &[("email_verified", json!(1))],
        &[("name", json!({}))],
        &[("hd", json!(true))],
    ] {
        let refusal = refused(fixture.sign_in(&fixture.claims_with(changes)).await);
        assert_eq!(refusal.class(), INVALID, "{changes:?}");
        assert_eq!(refusal.message, "the id token is not valid");
    }
}

#[tokio::test]
async fn tokens_without_a_required_claim_are_refused() {
    let fixture = IdTokenFixture::start(Sqlite).await;

    for claim in ["iss", "sub", "aud", "exp", "iat"] {
        let mut claims = fixture.claims_with(&[]);
        claims[claim] = Value::Null;
        let null = refused(fixture.sign_in(&claims).await);
        claims.as_object_mut().unwrap().remove(claim);
        let absent = refused(fixture.sign_in(&claims).await);
        for refusal in [null, absent] {
            assert_eq!(refusal.class(), INVALID, "{claim}");
        }
    }
    for claims in [json!([]), json!("claims"), json!(null), json!({})] {
        let refusal = refused(fixture.sign_in(&claims).await);
        assert_eq!(refusal.class(), INVALID, "{claims}");
    }
}

#[tokio::test]
async fn the_nonce_must_match_the_request() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    let bare = fixture.claims_with(&[]);
    let with_nonce = fixture.claims_with(&[("nonce", json!("n-0S6_WzA2Mj"))]);

    for (claims, nonce, accepted) in [
        (&with_nonce, "n-0S6_WzA2Mj", true),
        (&with_nonce, "n-0S6_WzA2Mk", false),
        (&with_nonce, "N-0S6_WzA2Mj", false),
        (&with_nonce, "n-0S6_WzA2Mj ", false),
        (&with_nonce, "", false),
        (&bare, "", true),
        (&bare, "n-0S6_WzA2Mj", false),
    ] {
        let token = fixture.key.sign(claims);
        let answer = sign_in_with_id_token(&fixture.server.channel, &token, nonce).await;
        match accepted {
            true => assert!(answer.is_ok(), "{nonce}"),
            false => assert_eq!(refused(answer).class(), INVALID, "{nonce}"),
        }
    }
}
