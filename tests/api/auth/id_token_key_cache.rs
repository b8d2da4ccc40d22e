use std::time::Duration;

use chrono::TimeDelta;
use rstest::rstest;
use sluice::{
    auth::{IdTokenProvider, IdTokens},
    domain::{Identity, Secret, Time, now},
    error::{Error, Result},
};
use tokio::{task::JoinSet, time::timeout};

use super::id_token_fixture::{INVALID, IdTokenFixture, UNAVAILABLE, sign_in_with_id_token};
use crate::harness::{
    DISCOVERY, Engine, Issuer, IssuerKey, JWKS, Postgres, Sqlite, TestServer, eventually, refused,
};

/// Verifies tokens of an issuer, at a time that the test sets.
struct TimedVerifier {
    id_tokens: IdTokens,
    issuer: Issuer,
    time: Time,
}

impl TimedVerifier {
    async fn start(keys: &[&IssuerKey]) -> Self {
        let issuer = Issuer::start(keys).await;
        let provider: IdTokenProvider = issuer.setting().parse().unwrap();
        Self {
            id_tokens: IdTokens::new(vec![provider]),
            issuer,
            time: now(),
        }
    }

    fn advance(&mut self, span: TimeDelta) {
        self.time += span;
    }

    /// Verifies a new token that is signed with a key.
    async fn verify(&self, key: &IssuerKey) -> Result<Identity> {
        let token = Secret::new(key.sign(&self.issuer.claims_at("ada", self.time)));
        let issuer = self.id_tokens.verifier("acme").unwrap();
        issuer.verify(&token, &Secret::new(""), self.time).await
    }
}

fn is_refused(outcome: &Result<Identity>) -> bool {
    matches!(outcome, Err(Error::IdTokenInvalid))
}

fn is_unavailable(outcome: &Result<Identity>) -> bool {
    matches!(outcome, Err(Error::IssuerUnavailable(_)))
}

#[tokio::test]
async fn issuer_keys_are_fetched_on_first_use_and_then_cached() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    assert_eq!(fixture.issuer.request_count(DISCOVERY), 0);

    for _ in 0..3 {
        fixture.signed_in(&fixture.claims_with(&[])).await;
    }

    assert_eq!(fixture.issuer.request_count(DISCOVERY), 1);
    assert_eq!(fixture.issuer.request_count(JWKS), 1);
}

#[rstest]
#[tokio::test]
async fn concurrent_calls_share_one_fetch_of_issuer_keys(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let blocked = fixture.issuer.block_responses().await;
    let mut calls = JoinSet::new();
    for number in 0..8 {
        let email = format!("user{number}@example.org");
        let claims = fixture
            .issuer
            .claims_with_email(&number.to_string(), &email);
        let (channel, token) = (fixture.server.channel.clone(), fixture.key.sign(&claims));
        calls.spawn(async move { sign_in_with_id_token(&channel, &token, "").await });
    }
    eventually("the keys are requested", async || {
        (fixture.issuer.request_count(DISCOVERY) > 0).then_some(())
    })
    .await;
    drop(blocked);

    for answer in calls.join_all().await {
        assert!(answer.unwrap().into_inner().created);
    }
    assert_eq!(fixture.issuer.request_count(DISCOVERY), 1);
    assert_eq!(fixture.issuer.request_count(JWKS), 1);
}

/// Other callers that wait for the same keys still get them.
#[tokio::test]
async fn a_cancelled_call_does_not_cancel_the_fetch() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    let blocked = fixture.issuer.block_responses().await;
    let (channel, token) = (
        fixture.server.channel.clone(),
        fixture.key.sign(&fixture.claims_with(&[])),
    );
    let cancelled =
        tokio::spawn(async move { sign_in_with_id_token(&channel, &token, "").await.map(drop) });
    eventually("the keys are requested", async || {
        (fixture.issuer.request_count(DISCOVERY) > 0).then_some(())
    })
    .await;
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    drop(blocked);

    fixture.signed_in(&fixture.claims_with(&[])).await;
    assert_eq!(fixture.issuer.request_count(DISCOVERY), 1);
}

#[tokio::test]
async fn a_new_issuer_key_works_at_once() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    let claims = fixture.claims_with(&[]);
    fixture.signed_in(&claims).await;

    let new = IssuerKey::ed25519("k2");
    fixture
        .issuer
        .publish(&[&fixture.key, &new], "max-age=3600");
    sign_in_with_id_token(&fixture.server.channel, &new.sign(&claims), "")
        .await
        .unwrap();

    fixture.signed_in(&claims).await;
    assert_eq!(fixture.issuer.request_count(JWKS), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_causes_one_refetch() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    let claims = fixture.claims_with(&[]);
    fixture.signed_in(&claims).await;

    let mut calls = JoinSet::new();
    for number in 0..20 {
        let forged = IssuerKey::p256(&format!("forged{number}")).sign(&claims);
        let channel = fixture.server.channel.clone();
        calls.spawn(async move { sign_in_with_id_token(&channel, &forged, "").await });
    }
    for answer in calls.join_all().await {
        assert_eq!(refused(answer).class(), INVALID);
    }

    assert_eq!(fixture.issuer.request_count(JWKS), 2);
    fixture.signed_in(&claims).await;
}

#[tokio::test]
async fn unknown_key_ids_cause_one_refetch_per_ten_seconds() {
    let (key, forged) = (IssuerKey::p256("k1"), IssuerKey::p256("k2"));
    let mut verifier = TimedVerifier::start(&[&key]).await;
    verifier.verify(&key).await.unwrap();

    for (seconds, fetches) in [(0, 2), (9, 2), (1, 3), (5, 3), (5, 4)] {
        verifier.advance(TimeDelta::seconds(seconds));
        assert!(is_refused(&verifier.verify(&forged).await));
        assert_eq!(verifier.issuer.request_count(JWKS), fetches);
    }
}

#[rstest]
#[case("max-age=7200", 7200)]
#[case("max-age=1", 60)]
#[case("no-store", 60)]
#[case("max-age=9999999", 86_400)]
#[case("public", 600)]
#[tokio::test]
async fn a_removed_key_works_until_the_cache_expires(
    #[case] cache_control: &str,
    #[case] seconds: i64,
) {
    let (old, new) = (IssuerKey::p256("k1"), IssuerKey::p256("k2"));
    let mut verifier = TimedVerifier::start(&[]).await;
    verifier.issuer.publish(&[&old], cache_control);
    verifier.verify(&old).await.unwrap();
    verifier.issuer.publish(&[&new], cache_control);

    verifier.advance(TimeDelta::seconds(seconds - 1));
    verifier.verify(&old).await.unwrap();
    verifier.advance(TimeDelta::seconds(1));
    assert!(is_refused(&verifier.verify(&old).await));

    verifier.verify(&new).await.unwrap();
    assert_eq!(
        verifier.issuer.request_count(DISCOVERY),
        verifier.issuer.request_count(JWKS)
    );
}

#[tokio::test]
async fn cached_keys_work_for_a_day_during_an_issuer_outage() {
    let (key, forged) = (IssuerKey::p256("k1"), IssuerKey::p256("k2"));
    let mut verifier = TimedVerifier::start(&[&key]).await;
    verifier.verify(&key).await.unwrap();
    verifier.issuer.stop().await;

    verifier.advance(TimeDelta::hours(1));
    verifier.verify(&key).await.unwrap();
    // The key may be new; only the issuer could tell.
    assert!(is_unavailable(&verifier.verify(&forged).await));
    verifier.advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
    verifier.verify(&key).await.unwrap();
    verifier.advance(TimeDelta::seconds(1));
    assert!(is_unavailable(&verifier.verify(&key).await));

    verifier.issuer.restart().await;
    verifier.advance(TimeDelta::seconds(10));
    verifier.verify(&key).await.unwrap();
    assert!(is_refused(&verifier.verify(&forged).await));
}

#[tokio::test]
async fn a_failing_issuer_is_retried_after_a_delay() {
    let key = IssuerKey::p256("k1");
    let mut verifier = TimedVerifier::start(&[&key]).await;
    verifier
        .issuer
        .set_response(JWKS, "500 Internal Server Error", "", "");

    for (seconds, fetches) in [(0, 1), (0, 1), (2, 2), (0, 2)] {
        verifier.advance(TimeDelta::seconds(seconds));
        assert!(is_unavailable(&verifier.verify(&key).await));
        assert_eq!(verifier.issuer.request_count(JWKS), fetches);
    }
    verifier.issuer.publish(&[&key], "max-age=60");
    verifier.advance(TimeDelta::seconds(2));
    verifier.verify(&key).await.unwrap();

    verifier
        .issuer
        .set_response(JWKS, "500 Internal Server Error", "", "");
    for (seconds, fetches) in [(60, 4), (9, 4), (2, 5)] {
        verifier.advance(TimeDelta::seconds(seconds));
        verifier.verify(&key).await.unwrap();
        assert_eq!(verifier.issuer.request_count(JWKS), fetches);
    }
}

#[tokio::test]
async fn a_fetch_from_an_unresponsive_issuer_times_out() {
    let key = IssuerKey::p256("k1");
    let verifier = TimedVerifier::start(&[&key]).await;
    let _blocked = verifier.issuer.block_responses().await;

    let outcome = timeout(Duration::from_secs(20), verifier.verify(&key)).await;

    assert!(is_unavailable(&outcome.unwrap()));
}

#[tokio::test]
async fn an_issuer_outage_is_unavailable_and_not_an_invalid_token() {
    let key = IssuerKey::p256("k1");
    let mut issuer = Issuer::start(&[&key]).await;
    let setting = format!("--oidc-providers={}", issuer.setting());
    let server = TestServer::start_with(Sqlite, &[&setting]).await;
    let token = key.sign(&issuer.claims_with_email("ada", "ada@example.com"));

    issuer.stop().await;
    let refusal = refused(sign_in_with_id_token(&server.channel, &token, "").await);
    assert_eq!(refusal.class(), UNAVAILABLE);
    assert!(refusal.details.retry_info().is_some());
    issuer.restart().await;
    eventually("the issuer is reached again", async || {
        sign_in_with_id_token(&server.channel, &token, "")
            .await
            .ok()
    })
    .await;

    issuer.stop().await;
    sign_in_with_id_token(&server.channel, &token, "")
        .await
        .unwrap();
}
