//! Signing in with a passkey, alone and as a second factor.

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tokio::task::JoinSet;
use tonic::{Code, Request};

use super::{
    calls::{backdate, get_me, postpone, refreshed},
    id_token_fixture::IdTokenFixture,
    mail_calls::{audit_entries, verification_token, verify},
    passkey_calls::{
        self, BACKED_UP, BACKUP_ELIGIBLE, INVALID, SoftPasskey, USER_PRESENT, assertion,
        begin_registration, creation_options, delete, fault, list, register, register_another,
        request_options, sign_in, sign_in_with, sign_in_with_password,
    },
    second_factor_calls::{self, REQUIRED, end_waits},
};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, User, refused};

const WAIT: (Code, &str) = (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");

#[rstest]
#[tokio::test]
async fn a_passkey_signs_in_without_address_and_password(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let (mut passkey, _) = register(&ada).await;
    register(&ben).await;
    let options: serde_json::Value =
        serde_json::from_str(&request_options(&server.channel).await).unwrap();
    assert_eq!(options["rpId"], "example.com");
    assert_eq!(options["userVerification"], "required");
    // The options say nothing of any account.
    assert_eq!(options["allowCredentials"], serde_json::json!([]));

    passkey.flags |= BACKUP_ELIGIBLE;
    let refusal = sign_in(&server.channel, &mut passkey).await;
    assert_eq!(fault(refusal), "UNSUPPORTED");
    passkey.flags &= !BACKUP_ELIGIBLE;
    let signed_in = sign_in(&server.channel, &mut passkey).await.unwrap();
    let signed_in = signed_in.into_inner();

    assert_eq!(signed_in.user.unwrap().id, ada.user.id);
    let tokens = signed_in.tokens.unwrap();
    let client = Client::with_token(&server.channel, &tokens.access_token);
    get_me(&client).await.unwrap();
    refreshed(&server.channel, &tokens.refresh_token).await;
    assert!(list(&ada.client).await[0].last_used_time.is_some());
    let entries = audit_entries(&client).await;
    let of_sign_in = entries
        .iter()
        .filter(|(action, _)| action == "SignInWithPasskey");
    let results: Vec<_> = of_sign_in.map(|(_, result)| result.as_str()).collect();
    assert_eq!(results, ["PASSKEY_INVALID", "OK"]);
}

#[rstest]
#[tokio::test]
async fn a_passkey_completes_the_sign_in_with_a_password_or_an_id_token(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let server = &fixture.server;
    let ada = server.user().await;
    let token = verification_token(server, &ada).await;
    verify(&ada.client, &token).await.unwrap();
    let (mut passkey, _) = register(&ada).await;

    let refusal = sign_in_with_password(&server.channel, &ada, "").await;
    assert_eq!(refused(refusal).class(), REQUIRED);
    let shown = assertion(&server.channel, &mut passkey).await;
    let signed_in = sign_in_with_password(&server.channel, &ada, &shown).await;
    assert_eq!(
        signed_in.unwrap().into_inner().user.unwrap().id,
        ada.user.id
    );
    let refusal = sign_in_with_password(&server.channel, &ada, &shown).await;
    assert_eq!(fault(refusal), "CHALLENGE");

    let claims = fixture.issuer.claims_with_email("ada", &ada.email);
    assert_eq!(refused(fixture.sign_in(&claims).await).class(), REQUIRED);
    let request = pb::SignInWithIdTokenRequest {
        provider: "acme".to_owned(),
        id_token: fixture.key.sign(&claims),
        passkey_assertion: assertion(&server.channel, &mut passkey).await,
        ..Default::default()
    };
    let signed_in = server.anonymous().auth.sign_in_with_id_token(request).await;
    assert_eq!(
        signed_in.unwrap().into_inner().user.unwrap().id,
        ada.user.id
    );
}

/// Only who knows the password learns that there is a second factor.
#[rstest]
#[tokio::test]
async fn an_assertion_does_not_replace_the_password(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut passkey, _) = register(&ada).await;
    let guess = User {
        password: "wrong horse",
        ..ada
    };

    let shown = assertion(&server.channel, &mut passkey).await;
    let refusal = refused(sign_in_with_password(&server.channel, &guess, &shown).await);

    let wrong = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), wrong);
}

#[rstest]
#[tokio::test]
async fn a_passkey_proves_again_who_the_user_of_a_session_is(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut passkey, _) = register(&ada).await;
    backdate(&server.database, "sessions", "auth_time", "11 minutes").await;
    let tokens = refreshed(&server.channel, &ada.tokens.refresh_token).await;
    let client = Client::with_token(&server.channel, &tokens.access_token);
    let old = User { client, ..ada };
    let too_old = (Code::FailedPrecondition, "REAUTHENTICATION_REQUIRED");
    assert_eq!(refused(begin_registration(&old).await).class(), too_old);

    let mut auth = old.client.auth.clone();
    let request = pb::ReauthenticateRequest {
        password: old.password.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(auth.reauthenticate(request).await).class(),
        REQUIRED
    );
    let request = pb::ReauthenticateRequest {
        passkey_assertion: assertion(&server.channel, &mut passkey).await,
        ..Default::default()
    };
    let answer = auth.reauthenticate(request.clone()).await.unwrap();
    assert_eq!(fault(auth.reauthenticate(request).await), "CHALLENGE");

    let token = answer.into_inner().access_token;
    let client = Client::with_token(&server.channel, &token);
    let recent = User { client, ..old };
    assert_eq!(refused(begin_registration(&recent).await).class(), REQUIRED);
}

#[rstest]
#[tokio::test]
async fn an_assertion_works_once_over_all_replicas(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;
    let ada = server.user().await;
    let (mut passkey, _) = register(&ada).await;
    // No counter would notice the repetition.
    passkey.sign_count = 0;
    let refusal = sign_in(&server.channel, &mut passkey).await;
    assert_eq!(fault(refusal), "COUNTER");
    server
        .database
        .execute("update passkeys set sign_count = 0")
        .await;
    end_waits(&server.database).await;
    let shown = assertion(&server.channel, &mut passkey).await;

    let mut calls = JoinSet::new();
    for at in 0..8 {
        let channel = [&server.channel, &replica][at % 2].clone();
        let shown = shown.clone();
        calls.spawn(async move { sign_in_with(&channel, &shown).await });
    }
    let answers = calls.join_all().await;

    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(accepted, 1, "{answers:?}");
    for answer in answers.into_iter().filter(Result::is_err) {
        let refusal = refused(answer);
        let class = refusal.class();
        assert!([INVALID, WAIT].contains(&class), "{class:?}");
    }
    end_waits(&server.database).await;
    assert_eq!(fault(sign_in_with(&replica, &shown).await), "CHALLENGE");
    end_waits(&server.database).await;
    // An authenticator without a counter signs in again and again.
    sign_in(&replica, &mut passkey).await.unwrap();
    sign_in(&server.channel, &mut passkey).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_counter_that_goes_back_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut passkey, _) = register(&ada).await;
    passkey.sign_count = 10;
    sign_in(&server.channel, &mut passkey).await.unwrap();

    for (count, expected) in [(10, Some("COUNTER")), (9, Some("COUNTER")), (11, None)] {
        // An assertion has the next number.
        passkey.sign_count = count;
        let signed_in = sign_in(&server.channel, &mut passkey).await;
        match expected {
            Some(expected) => assert_eq!(fault(signed_in), expected, "{count}"),
            None => drop(signed_in.unwrap()),
        }
    }
    let stored = "select sign_count from passkeys";
    assert_eq!(server.database.number(stored).await, 12);
}

#[rstest]
#[tokio::test]
async fn an_assertion_for_another_service_or_user_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let (mut passkey, codes) = register(&ada).await;
    let (mut of_ben, _) = register(&ben).await;
    let (origin, rp_id, flags) = (passkey.origin, passkey.rp_id, passkey.flags);
    type Change = fn(&mut SoftPasskey);
    let dishonest: [(&str, Change); 8] = [
        ("ORIGIN", |one| one.origin = "https://evil.test"),
        ("ORIGIN", |one| one.origin = "http://app.example.com"),
        ("ORIGIN", |one| one.cross_origin = true),
        ("RELYING_PARTY", |one| one.rp_id = "app.example.com"),
        ("USER_VERIFICATION", |one| one.flags = USER_PRESENT),
        ("USER_VERIFICATION", |one| one.flags = 0),
        ("UNSUPPORTED", |one| one.flags |= BACKED_UP),
        ("UNKNOWN_PASSKEY", |one| one.user_handle[0] ^= 1),
    ];
    for (expected, change) in dishonest {
        let handle = passkey.user_handle.clone();
        change(&mut passkey);
        let refusal = sign_in(&server.channel, &mut passkey).await;
        assert_eq!(fault(refusal), expected);
        end_waits(&server.database).await;
        (passkey.origin, passkey.rp_id, passkey.flags) = (origin, rp_id, flags);
        (passkey.cross_origin, passkey.user_handle) = (false, handle);
    }

    // A signature of another key, and one over other data.
    let mut forged = SoftPasskey::new();
    forged.credential_id = passkey.credential_id.clone();
    forged.user_handle = passkey.user_handle.clone();
    assert_eq!(
        fault(sign_in(&server.channel, &mut forged).await),
        "SIGNATURE"
    );
    end_waits(&server.database).await;
    let shown = assertion(&server.channel, &mut passkey).await;
    let later = assertion(&server.channel, &mut passkey).await;
    let (shown, mut mixed): (serde_json::Value, serde_json::Value) = (
        serde_json::from_str(&shown).unwrap(),
        serde_json::from_str(&later).unwrap(),
    );
    mixed["response"]["clientDataJSON"] = shown["response"]["clientDataJSON"].clone();
    let refusal = sign_in_with(&server.channel, &mixed.to_string()).await;
    assert_eq!(fault(refusal), "SIGNATURE");

    end_waits(&server.database).await;

    // Of another user, as a second factor, and one that is not registered.
    let shown = assertion(&server.channel, &mut of_ben).await;
    let refusal = sign_in_with_password(&server.channel, &ada, &shown).await;
    assert_eq!(fault(refusal), "UNKNOWN_PASSKEY");
    let refusal = sign_in(&server.channel, &mut SoftPasskey::new()).await;
    assert_eq!(fault(refusal), "UNKNOWN_PASSKEY");

    end_waits(&server.database).await;

    // For a challenge of a registration, of nobody, and one that is too old.
    let options = passkey_calls::creation_options_with_code(&ada, &codes[0]).await;
    for options in [&options, r#"{"challenge": "AAAA"}"#] {
        let refusal = sign_in_with(&server.channel, &passkey.assert(options)).await;
        assert_eq!(fault(refusal), "CHALLENGE");
        end_waits(&server.database).await;
    }
    let shown = assertion(&server.channel, &mut passkey).await;
    backdate(
        &server.database,
        "passkey_challenges",
        "expire_time",
        "301 seconds",
    )
    .await;
    assert_eq!(
        fault(sign_in_with(&server.channel, &shown).await),
        "CHALLENGE"
    );
    end_waits(&server.database).await;
    let shown = assertion(&server.channel, &mut passkey).await;
    backdate(
        &server.database,
        "passkey_challenges",
        "expire_time",
        "299 seconds",
    )
    .await;
    sign_in_with(&server.channel, &shown).await.unwrap();

    // A removed one.
    let another = register_another(&ada, &codes[1]).await;
    let shown = assertion(&server.channel, &mut passkey).await;
    delete(&ada.client, &another.id, &codes[2], "")
        .await
        .unwrap();
    delete(&ada.client, &passkey.id, &codes[3], "")
        .await
        .unwrap();
    let refusal = sign_in_with(&server.channel, &shown).await;
    assert_eq!(fault(refusal), "UNKNOWN_PASSKEY");
}

#[rstest]
#[tokio::test]
async fn refused_assertions_delay_the_next_one_as_wrong_codes_do(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut passkey, codes) = register(&ada).await;
    let mut forged = SoftPasskey::new();
    forged.credential_id = passkey.credential_id.clone();
    for _ in 0..4 {
        assert_eq!(
            fault(sign_in(&server.channel, &mut forged).await),
            "UNKNOWN_PASSKEY"
        );
    }
    let wrong =
        second_factor_calls::sign_in(&server.channel, &ada, second_factor_calls::UNKNOWN_CODE);
    assert_eq!(refused(wrong.await).class(), second_factor_calls::INVALID);
    postpone(&server.database, "guesses", "locked_until", "1 hour").await;

    let shown = assertion(&server.channel, &mut passkey).await;
    let refusal = refused(sign_in_with(&server.channel, &shown).await);
    assert_eq!(refusal.class(), WAIT);
    assert!(refusal.details.retry_info().is_some());
    let passwords = "update guesses set locked_until = update_time where failures < 5";
    server.database.execute(passwords).await;
    let refusal = second_factor_calls::sign_in(&server.channel, &ada, &codes[0]).await;
    assert_eq!(refused(refusal).class(), WAIT);
    end_waits(&server.database).await;

    // The wait has not used the assertion up, and its success ends the count.
    sign_in_with(&server.channel, &shown).await.unwrap();
    let failures = "select count(*) from guesses where failures > 0";
    assert_eq!(server.database.number(failures).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_suspended_user_does_not_sign_in(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut passkey, _) = register(&ada).await;
    let mut operator = server.operator(&[Scope::OperatorWrite]).await.operator;
    let request = pb::SuspendUserRequest {
        user_id: ada.user.id.clone(),
    };
    operator.suspend_user(request).await.unwrap();

    let refusal = refused(sign_in(&server.channel, &mut passkey).await);

    let suspended = (Code::PermissionDenied, "ACCOUNT_SUSPENDED");
    assert_eq!(refusal.class(), suspended);
    let failures = "select count(*) from guesses where failures > 0";
    assert_eq!(server.database.number(failures).await, 0);
}

#[rstest]
#[tokio::test]
async fn the_newest_challenges_of_an_address_and_of_a_user_are_kept(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--trusted-proxies=127.0.0.1"]).await;
    let ada = server.user().await;
    let begin_at = async |address: &str| {
        let mut request = Request::new(pb::BeginPasskeyAuthenticationRequest {});
        let address = address.parse().unwrap();
        request.metadata_mut().insert("x-forwarded-for", address);
        let mut auth = server.anonymous().auth;
        let begun = auth.begin_passkey_authentication(request).await.unwrap();
        begun.into_inner().request_options
    };
    let challenges = "select count(*) from passkey_challenges";
    let oldest = creation_options(&ada).await;
    for _ in 0..10 {
        creation_options(&ada).await;
    }
    assert_eq!(server.database.number(challenges).await, 10);
    let credential = SoftPasskey::new().register(&oldest);
    let refusal = passkey_calls::finish_registration(&ada.client, &credential).await;
    assert_eq!(fault(refusal), "CHALLENGE");

    let (mut passkey, _) = register(&ada).await;
    let elsewhere = begin_at("2001:db8::1").await;
    let oldest = begin_at("2001:db8:0:1::1").await;
    for at in 0..100 {
        begin_at(&format!("2001:db8:0:1::{at:x}")).await;
    }
    let of_addresses = "select count(*) from passkey_challenges where user_id is null";
    assert_eq!(server.database.number(of_addresses).await, 101);
    let shown = passkey.assert(&oldest);
    assert_eq!(
        fault(sign_in_with(&server.channel, &shown).await),
        "CHALLENGE"
    );
    let shown = passkey.assert(&elsewhere);
    sign_in_with(&server.channel, &shown).await.unwrap();
}
