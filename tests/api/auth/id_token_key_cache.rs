use std::time::Duration;

use chrono::TimeDelta;
use rstest::rstest;
use sluice::{
    auth::{IdTokenProvider, IdTokens},
    domain::{Identity, Secret, Time, now},
    error::{Error, Result},
};
use tokio::{task::JoinSet, time::timeout};

use super::id_token_fixture::{INVALID, Scene, UNAVAILABLE, present};
use crate::harness::{
    DISCOVERY, Engine, Issuer, IssuerKey, JWKS, Postgres, Sqlite, TestServer, eventually, refused,
};

/// Checks tokens of an issuer at any time: an hour of a test is no hour.
struct Clocked {
    id_tokens: IdTokens,
    issuer: Issuer,
    time: Time,
}

impl Clocked {
    async fn start(keys: &[&IssuerKey]) -> Self {
        let issuer = Issuer::start(keys).await;
        let provider: IdTokenProvider = issuer.setting().parse().unwrap();
        Self {
            id_tokens: IdTokens::new(vec![provider]),
            issuer,
            time: now(),
        }
    }

    fn pass(&mut self, span: TimeDelta) {
        self.time += span;
    }

    /// Checks a new token under a key.
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
    let scene = Scene::start(Sqlite).await;
    assert_eq!(scene.issuer.fetches(DISCOVERY), 0);

    for _ in 0..3 {
        scene.signed_in(&scene.claims_with(&[])).await;
    }

    assert_eq!(scene.issuer.fetches(DISCOVERY), 1);
    assert_eq!(scene.issuer.fetches(JWKS), 1);
}

#[rstest]
#[tokio::test]
async fn concurrent_calls_share_one_fetch_of_issuer_keys(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let held = scene.issuer.hold().await;
    let mut calls = JoinSet::new();
    for number in 0..8 {
        let email = format!("user{number}@example.org");
        let claims = scene.issuer.claims_of(&number.to_string(), &email);
        let (channel, token) = (scene.server.channel.clone(), scene.key.sign(&claims));
        calls.spawn(async move { present(&channel, &token, "").await });
    }
    eventually("the issuer is asked", async || {
        (scene.issuer.fetches(DISCOVERY) > 0).then_some(())
    })
    .await;
    drop(held);

    for answer in calls.join_all().await {
        assert!(answer.unwrap().into_inner().created);
    }
    assert_eq!(scene.issuer.fetches(DISCOVERY), 1);
    assert_eq!(scene.issuer.fetches(JWKS), 1);
}

/// The first caller may leave; those who wait for the same keys still get them.
#[tokio::test]
async fn a_cancelled_call_does_not_cancel_the_fetch() {
    let scene = Scene::start(Sqlite).await;
    let held = scene.issuer.hold().await;
    let (channel, token) = (
        scene.server.channel.clone(),
        scene.key.sign(&scene.claims_with(&[])),
    );
    let given_up = tokio::spawn(async move { present(&channel, &token, "").await.map(drop) });
    eventually("the issuer is asked", async || {
        (scene.issuer.fetches(DISCOVERY) > 0).then_some(())
    })
    .await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    drop(held);

    scene.signed_in(&scene.claims_with(&[])).await;
    assert_eq!(scene.issuer.fetches(DISCOVERY), 1);
}

#[tokio::test]
async fn a_new_issuer_key_works_at_once() {
    let scene = Scene::start(Sqlite).await;
    let claims = scene.claims_with(&[]);
    scene.signed_in(&claims).await;

    let new = IssuerKey::ed25519("k2");
    scene.issuer.publish(&[&scene.key, &new], "max-age=3600");
    present(&scene.server.channel, &new.sign(&claims), "")
        .await
        .unwrap();

    scene.signed_in(&claims).await;
    assert_eq!(scene.issuer.fetches(JWKS), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_causes_one_refetch() {
    let scene = Scene::start(Sqlite).await;
    let claims = scene.claims_with(&[]);
    scene.signed_in(&claims).await;

    let mut calls = JoinSet::new();
    for number in 0..20 {
        let forged = IssuerKey::p256(&format!("forged{number}")).sign(&claims);
        let channel = scene.server.channel.clone();
        calls.spawn(async move { present(&channel, &forged, "").await });
    }
    for answer in calls.join_all().await {
        assert_eq!(refused(answer).class(), INVALID);
    }

    assert_eq!(scene.issuer.fetches(JWKS), 2);
    scene.signed_in(&claims).await;
}

#[tokio::test]
async fn unknown_key_ids_cause_one_refetch_per_ten_seconds() {
    let (key, forged) = (IssuerKey::p256("k1"), IssuerKey::p256("k2"));
    let mut clocked = Clocked::start(&[&key]).await;
    clocked.verify(&key).await.unwrap();

    for (seconds, fetches) in [(0, 2), (9, 2), (1, 3), (5, 3), (5, 4)] {
        clocked.pass(TimeDelta::seconds(seconds));
        assert!(is_refused(&clocked.verify(&forged).await));
        assert_eq!(clocked.issuer.fetches(JWKS), fetches);
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
    let mut clocked = Clocked::start(&[]).await;
    clocked.issuer.publish(&[&old], cache_control);
    clocked.verify(&old).await.unwrap();
    clocked.issuer.publish(&[&new], cache_control);

    clocked.pass(TimeDelta::seconds(seconds - 1));
    clocked.verify(&old).await.unwrap();
    clocked.pass(TimeDelta::seconds(1));
    assert!(is_refused(&clocked.verify(&old).await));

    clocked.verify(&new).await.unwrap();
    assert_eq!(
        clocked.issuer.fetches(DISCOVERY),
        clocked.issuer.fetches(JWKS)
    );
}

#[tokio::test]
async fn cached_keys_work_for_a_day_during_an_issuer_outage() {
    let (key, forged) = (IssuerKey::p256("k1"), IssuerKey::p256("k2"));
    let mut clocked = Clocked::start(&[&key]).await;
    clocked.verify(&key).await.unwrap();
    clocked.issuer.go_away().await;

    clocked.pass(TimeDelta::hours(1));
    clocked.verify(&key).await.unwrap();
    // It may be a new key: only the issuer could tell.
    assert!(is_unavailable(&clocked.verify(&forged).await));
    clocked.pass(TimeDelta::hours(24) - TimeDelta::seconds(1));
    clocked.verify(&key).await.unwrap();
    clocked.pass(TimeDelta::seconds(1));
    assert!(is_unavailable(&clocked.verify(&key).await));

    clocked.issuer.come_back().await;
    clocked.pass(TimeDelta::seconds(10));
    clocked.verify(&key).await.unwrap();
    assert!(is_refused(&clocked.verify(&forged).await));
}

#[tokio::test]
async fn a_failing_issuer_is_retried_after_a_delay() {
    let key = IssuerKey::p256("k1");
    let mut clocked = Clocked::start(&[&key]).await;
    clocked
        .issuer
        .answer(JWKS, "500 Internal Server Error", "", "");

    for (seconds, fetches) in [(0, 1), (0, 1), (2, 2), (0, 2)] {
        clocked.pass(TimeDelta::seconds(seconds));
        assert!(is_unavailable(&clocked.verify(&key).await));
        assert_eq!(clocked.issuer.fetches(JWKS), fetches);
    }
    clocked.issuer.publish(&[&key], "max-age=60");
    clocked.pass(TimeDelta::seconds(2));
    clocked.verify(&key).await.unwrap();

    clocked
        .issuer
        .answer(JWKS, "500 Internal Server Error", "", "");
    for (seconds, fetches) in [(60, 4), (9, 4), (2, 5)] {
        clocked.pass(TimeDelta::seconds(seconds));
        clocked.verify(&key).await.unwrap();
        assert_eq!(clocked.issuer.fetches(JWKS), fetches);
    }
}

#[tokio::test]
async fn a_fetch_from_an_unresponsive_issuer_times_out() {
    let key = IssuerKey::p256("k1");
    let clocked = Clocked::start(&[&key]).await;
    let _held = clocked.issuer.hold().await;

    let given_up = timeout(Duration::from_secs(20), clocked.verify(&key)).await;

    assert!(is_unavailable(&given_up.unwrap()));
}

#[tokio::test]
async fn an_issuer_outage_is_unavailable_and_not_an_invalid_token() {
    let key = IssuerKey::p256("k1");
    let mut issuer = Issuer::start(&[&key]).await;
    let setting = format!("--oidc-providers={}", issuer.setting());
    let server = TestServer::start_with(Sqlite, &[&setting]).await;
    let token = key.sign(&issuer.claims_of("ada", "ada@example.com"));

    issuer.go_away().await;
    let refusal = refused(present(&server.channel, &token, "").await);
    assert_eq!(refusal.class(), UNAVAILABLE);
    assert!(refusal.details.retry_info().is_some());
    issuer.come_back().await;
    eventually("the issuer is asked again", async || {
        present(&server.channel, &token, "").await.ok()
    })
    .await;

    issuer.go_away().await;
    present(&server.channel, &token, "").await.unwrap();
}
