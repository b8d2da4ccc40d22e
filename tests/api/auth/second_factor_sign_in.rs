//! Signing in to an account with a second factor.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;

use super::{
    calls::{get_me, postpone, sign_in as sign_in_without_code},
    id_token_fixture::IdTokenFixture,
    mail_calls::{NEW_PASSWORD, audit_entries, reset, reset_token, verification_token, verify},
    second_factor_calls::{
        Authenticator, INVALID, REQUIRED, UNKNOWN_CODE, confirm, create, end_waits, enrol, list,
        sign_in, sign_in_with,
    },
};
use crate::{
    harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, User, refused},
    lifecycle::sealing_key_rotation::rotate,
};

const WAIT: (Code, &str) = (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");

#[rstest]
#[tokio::test]
async fn a_password_alone_starts_no_session(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut authenticator, _) = enrol(&ada).await;

    let refusal = refused(sign_in_without_code(&server.channel, &ada.email, ada.password).await);

    assert_eq!(refusal.class(), REQUIRED);
    let sessions = "select count(*) from sessions";
    assert_eq!(server.database.number(sessions).await, 1);
    let code = authenticator.next_code();
    let answer = sign_in(&server.channel, &ada, &code).await.unwrap();
    let tokens = answer.into_inner().tokens.unwrap();
    let client = Client::with_token(&server.channel, &tokens.access_token);
    get_me(&client).await.unwrap();
    let entries = audit_entries(&client).await;
    let of_sign_in = entries.iter().filter(|(action, _)| action == "SignIn");
    let results: Vec<_> = of_sign_in.map(|(_, result)| result.as_str()).collect();
    // The one of the first session, before there was a second factor, is the oldest.
    assert_eq!(results, ["OK", "SECOND_FACTOR_REQUIRED", "OK"]);
}

/// Only who knows the password learns that there is a second factor.
#[rstest]
#[tokio::test]
async fn a_wrong_password_is_refused_like_that_of_any_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let (mut authenticator, _) = enrol(&ada).await;

    let code = authenticator.next_code();
    let wrong = sign_in_with(&server.channel, &ada.email, "wrong horse", &code).await;
    let wrong = refused(wrong);
    let other = refused(sign_in_without_code(&server.channel, &ben.email, "wrong horse").await);

    assert_eq!(format!("{wrong:?}"), format!("{other:?}"));
}

#[rstest]
#[tokio::test]
async fn a_code_works_once_over_all_replicas(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;
    let ada = server.user().await;
    let (mut authenticator, _) = enrol(&ada).await;
    let code = authenticator.next_code();

    let mut calls = JoinSet::new();
    for at in 0..8 {
        let channel = [&server.channel, &replica][at % 2].clone();
        let (email, password, code) = (ada.email.clone(), ada.password, code.clone());
        calls.spawn(async move { sign_in_with(&channel, &email, password, &code).await });
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
    let again = refused(sign_in(&replica, &ada, &code).await);
    assert_eq!(again.class(), INVALID);
}

#[rstest]
#[tokio::test]
async fn a_code_is_refused_after_a_later_one_and_when_it_is_old(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let created = create(&ada, ada.password, "").await.unwrap().into_inner();
    let mut authenticator = Authenticator::new(&created);
    let (earlier, later) = (authenticator.next_code(), authenticator.next_code());
    let confirmed = confirm(&ada.client, &authenticator.id, &later);
    confirmed.await.unwrap();

    for code in [earlier, later, authenticator.old_code()] {
        let refusal = refused(sign_in(&server.channel, &ada, &code).await);
        assert_eq!(refusal.class(), INVALID);
    }
}

#[rstest]
#[tokio::test]
async fn each_recovery_code_works_once_in_place_of_the_authenticator(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (_, codes) = enrol(&ada).await;

    for code in [&codes[0], &codes[1].to_lowercase().replace('-', " ")] {
        sign_in(&server.channel, &ada, code).await.unwrap();
        let refusal = refused(sign_in(&server.channel, &ada, code).await);
        assert_eq!(refusal.class(), INVALID);
    }

    assert_eq!(list(&ada.client).await.unused_recovery_codes, 8);
    let refusal = refused(sign_in(&server.channel, &ada, UNKNOWN_CODE).await);
    assert_eq!(refusal.class(), INVALID);
}

/// Else guesses from elsewhere would delay the owner there.
#[rstest]
#[tokio::test]
async fn a_sign_in_that_lacks_the_code_leaves_the_address_familiar(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    enrol(&ada).await;
    let familiar = "select count(*) from guesses where familiar_until is not null";
    assert_eq!(server.database.number(familiar).await, 1);

    let refusal = refused(sign_in(&server.channel, &ada, "").await);

    assert_eq!(refusal.class(), REQUIRED);
    assert_eq!(server.database.number(familiar).await, 1);
    let failures = "select count(*) from guesses where failures > 0";
    assert_eq!(server.database.number(failures).await, 0);
}

/// The right password, which whoever guesses codes must know, does not end the waits.
#[rstest]
#[tokio::test]
async fn wrong_codes_delay_the_next_code_as_wrong_passwords_do(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut authenticator, codes) = enrol(&ada).await;
    for _ in 0..5 {
        let refusal = refused(sign_in(&server.channel, &ada, UNKNOWN_CODE).await);
        assert_eq!(refusal.class(), INVALID);
        let refusal = sign_in_without_code(&server.channel, &ada.email, ada.password).await;
        assert_eq!(refused(refusal).class(), REQUIRED);
    }
    postpone(&server.database, "guesses", "locked_until", "1 hour").await;
    let passwords = "update guesses set locked_until = update_time where failures < 5";
    server.database.execute(passwords).await;

    let code = authenticator.next_code();
    for code in [&code, &codes[0]] {
        let refusal = refused(sign_in(&server.channel, &ada, code).await);
        assert_eq!(refusal.class(), WAIT);
        assert!(refusal.details.retry_info().is_some());
    }
    end_waits(&server.database).await;
    sign_in(&server.channel, &ada, &code).await.unwrap();
    let failures = "select count(*) from guesses where failures > 0";
    assert_eq!(server.database.number(failures).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_malformed_code_is_an_invalid_field(#[values(Sqlite)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    for code in ["12345", "1234567", "abcdef", "x", "12345\u{0661}"] {
        let refusal = refused(sign_in(&server.channel, &ada, code).await);
        assert_eq!(refusal.fields(), ["second_factor_code"], "{code}");
    }
    // Without a second factor, a code has no effect.
    sign_in(&server.channel, &ada, "123456").await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_sign_in_with_an_id_token_needs_the_code_too(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = IdTokenFixture::start(engine).await;
    let server = &fixture.server;
    let ada = server.user().await;
    let token = verification_token(server, &ada).await;
    verify(&ada.client, &token).await.unwrap();
    let (mut authenticator, _) = enrol(&ada).await;
    let claims = fixture.issuer.claims_with_email("ada", &ada.email);

    let refusal = refused(fixture.sign_in(&claims).await);
    assert_eq!(refusal.class(), REQUIRED);
    for (code, expected) in [
        (UNKNOWN_CODE.to_owned(), Err(INVALID)),
        (authenticator.next_code(), Ok(())),
    ] {
        let request = pb::SignInWithIdTokenRequest {
            provider: "acme".to_owned(),
            id_token: fixture.key.sign(&claims),
            second_factor_code: code,
            ..Default::default()
        };
        let answer = server.anonymous().auth.sign_in_with_id_token(request).await;
        match expected {
            Ok(()) => assert_eq!(answer.unwrap().into_inner().user.unwrap().id, ada.user.id),
            Err(class) => assert_eq!(refused(answer).class(), class),
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_reset_password_needs_the_code_if_the_address_was_verified_before(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, planter) = (server.user().await, server.user().await);
    let token = verification_token(&server, &ada).await;
    verify(&ada.client, &token).await.unwrap();
    let (mut authenticator, _) = enrol(&ada).await;
    enrol(&planter).await;
    for user in [&ada, &planter] {
        let token = reset_token(&server, user).await;
        reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();
    }

    let sign_in = async |user: &User, code: &str| {
        sign_in_with(&server.channel, &user.email, NEW_PASSWORD, code).await
    };
    assert_eq!(refused(sign_in(&ada, "").await).class(), REQUIRED);
    sign_in(&ada, &authenticator.next_code()).await.unwrap();
    // Nobody had proved to own this address, so the authenticator may be a stranger's.
    sign_in(&planter, "").await.unwrap();
    let left = "select count(*) from recovery_codes";
    assert_eq!(server.database.number(left).await, 10);
}

#[rstest]
#[tokio::test]
async fn an_authenticator_works_after_a_rotation_of_the_sealing_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut authenticator, _) = enrol(&ada).await;
    let sealed = "select count(*) from second_factors f
                  join sessions s on s.user_id = f.user_id
                  where substr(f.secret_sealed, 1, 4) = substr(s.refresh_seed, 1, 4)";
    server
        .database
        .execute("create table before_rotation as select secret_sealed from second_factors")
        .await;

    rotate(&server.database, &[]).await;

    assert_eq!(server.database.number(sealed).await, 1);
    let unchanged = "select count(*) from second_factors f
                     join before_rotation b
                       on substr(b.secret_sealed, 1, 4) = substr(f.secret_sealed, 1, 4)";
    assert_eq!(server.database.number(unchanged).await, 0);
    let code = authenticator.next_code();
    sign_in(&server.channel, &ada, &code).await.unwrap();
}
