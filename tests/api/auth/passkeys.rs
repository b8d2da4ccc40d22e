//! Registration and removal of passkeys.

use rstest::rstest;
use serde_json::{Value, json};
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    calls::{backdate, get_me, sign_in as sign_in_without_code},
    mail_calls::{NEW_PASSWORD, audit_entries, reset, reset_token, verified_user},
    passkey_calls::{
        self, BACKED_UP, BACKUP_ELIGIBLE, SoftPasskey, USER_PRESENT, assertion, begin_registration,
        begin_registration_with, creation_options, creation_options_with_code, delete, fault,
        finish, finish_registration, list, octets, register, register_another, rename,
        request_options, sign_in, sign_in_with, sign_in_with_password,
    },
    second_factor_calls::{self, INVALID, REQUIRED, UNKNOWN_CODE, enrol, enrol_another},
};
use crate::harness::{
    Client, Engine, Pooled, Postgres, Process, Sqlite, TestServer, User, refused,
};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

/// A member of options, which are JSON.
fn member(options: &str, pointer: &str) -> Value {
    let options: Value = serde_json::from_str(options).unwrap();
    options.pointer(pointer).cloned().unwrap_or_default()
}

#[rstest]
#[tokio::test]
async fn a_first_passkey_brings_recovery_codes_and_makes_the_password_alone_not_enough(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let options = creation_options(&ada).await;
    for (pointer, expected) in [
        ("/rp/id", json!("example.com")),
        ("/user/name", json!(ada.email)),
        ("/user/displayName", json!(ada.user.display_name)),
        ("/attestation", json!("none")),
        ("/excludeCredentials", json!([])),
        ("/authenticatorSelection/residentKey", json!("required")),
        (
            "/authenticatorSelection/userVerification",
            json!("required"),
        ),
        ("/timeout", json!(300_000)),
    ] {
        assert_eq!(member(&options, pointer), expected, "{pointer}");
    }
    assert_eq!(octets(&member(&options, "/challenge")).len(), 32);
    let handle = octets(&member(&options, "/user/id"));
    assert_eq!(handle.len(), 32);
    sign_in_without_code(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();

    let mut passkey = SoftPasskey::new();
    passkey.flags |= BACKUP_ELIGIBLE | BACKED_UP;
    let codes = finish(&ada, &mut passkey, &options).await;

    assert_eq!(codes.len(), 10);
    let listed = list(&ada.client).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, passkey.id);
    assert_eq!(listed[0].display_name, "Laptop");
    assert!(listed[0].backed_up && listed[0].last_used_time.is_none());
    let refusal = sign_in_without_code(&server.channel, &ada.email, ada.password).await;
    assert_eq!(refused(refusal).class(), REQUIRED);
    second_factor_calls::sign_in(&server.channel, &ada, &codes[0])
        .await
        .unwrap();
    // The session goes on.
    get_me(&ada.client).await.unwrap();

    let options = creation_options_with_code(&ada, &codes[1]).await;
    assert_eq!(octets(&member(&options, "/user/id")), handle);
    let excluded = member(&options, "/excludeCredentials/0");
    assert_eq!(octets(&excluded["id"]), passkey.credential_id);
    assert_eq!(excluded["transports"], json!(["internal", "hybrid"]));
    let more = finish(&ada, &mut SoftPasskey::new(), &options).await;
    assert_eq!(more, Vec::<String>::new());
    assert_eq!(list(&ada.client).await.len(), 2);
}

/// Else whoever has taken over a session could add a passkey of their own.
#[rstest]
#[tokio::test]
async fn a_registration_needs_the_password_and_a_second_factor_if_there_is_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let request =
        |password: &str, code: &str, assertion: &str| pb::BeginPasskeyRegistrationRequest {
            password: password.to_owned(),
            second_factor_code: code.to_owned(),
            passkey_assertion: assertion.to_owned(),
        };
    let refusal = refused(begin_registration_with(&ada, request("", "", "")).await);
    assert_eq!(refusal.fields(), ["password"]);
    let wrong = request("wrong horse", "", "");
    let refusal = refused(begin_registration_with(&ada, wrong).await);
    let wrong = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), wrong);

    let (mut passkey, _) = register(&ada).await;
    for (code, class) in [("", REQUIRED), (UNKNOWN_CODE, INVALID)] {
        let refusal = begin_registration_with(&ada, request(ada.password, code, "")).await;
        assert_eq!(refused(refusal).class(), class);
    }
    let shown = assertion(&server.channel, &mut passkey).await;
    let begun = begin_registration_with(&ada, request(ada.password, "", &shown)).await;
    let options = begun.unwrap().into_inner().creation_options;
    let again = begin_registration_with(&ada, request(ada.password, "", &shown)).await;
    assert_eq!(fault(again), "CHALLENGE");
    finish(&ada, &mut SoftPasskey::new(), &options).await;
}

#[rstest]
#[tokio::test]
async fn an_old_session_registers_no_passkey(#[values(Sqlite)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    backdate(&server.database, "sessions", "auth_time", "11 minutes").await;
    let tokens = super::calls::refreshed(&server.channel, &ada.tokens.refresh_token).await;
    let ada = User {
        client: Client::with_token(&server.channel, &tokens.access_token),
        ..ada
    };

    let refusal = refused(begin_registration(&ada).await);

    let too_old = (Code::FailedPrecondition, "REAUTHENTICATION_REQUIRED");
    assert_eq!(refusal.class(), too_old);
}

#[rstest]
#[tokio::test]
async fn a_credential_that_is_not_made_for_this_registration_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    type Change = fn(&mut SoftPasskey);
    let dishonest: [(&str, Change); 6] = [
        ("ORIGIN", |one| {
            one.origin = "https://app.example.com.evil.test"
        }),
        ("ORIGIN", |one| one.cross_origin = true),
        ("RELYING_PARTY", |one| one.rp_id = "evil.test"),
        ("USER_VERIFICATION", |one| one.flags = USER_PRESENT),
        ("UNSUPPORTED", |one| one.algorithm = -35),
        ("UNSUPPORTED", |one| one.flags |= BACKED_UP),
    ];
    for (expected, change) in dishonest {
        let mut passkey = SoftPasskey::new();
        change(&mut passkey);
        let credential = passkey.register(&creation_options(&ada).await);
        let refusal = finish_registration(&ada.client, &credential).await;
        assert_eq!(fault(refusal), expected);
    }

    // The answer to another ceremony, to a challenge of another user, of an authentication, or of
    // nobody.
    let options = creation_options(&ada).await;
    let mut passkey = SoftPasskey::new();
    let mut credential = passkey.register(&options);
    let shown: Value = serde_json::from_str(&passkey.assert(&options)).unwrap();
    credential["response"]["clientDataJSON"] = shown["response"]["clientDataJSON"].clone();
    let refusal = finish_registration(&ada.client, &credential).await;
    assert_eq!(fault(refusal), "UNSUPPORTED");
    let mut credential = passkey.register(&options);
    credential["rawId"] = json!("AQID");
    let refusal = finish_registration(&ada.client, &credential).await;
    assert_eq!(fault(refusal), "UNSUPPORTED");
    let with_challenge = |challenge: Value| {
        let mut options: Value = serde_json::from_str(&options).unwrap();
        options["challenge"] = challenge;
        options.to_string()
    };
    let of_ben = member(&creation_options(&ben).await, "/challenge");
    let of_sign_in = member(&request_options(&server.channel).await, "/challenge");
    for challenge in [of_ben, of_sign_in, json!("AAAA")] {
        let credential = passkey.register(&with_challenge(challenge));
        let refusal = finish_registration(&ada.client, &credential).await;
        assert_eq!(fault(refusal), "CHALLENGE");
    }
    assert_eq!(list(&ada.client).await, []);

    // The honest one works once, within five minutes.
    let credential = passkey.register(&options);
    backdate(
        &server.database,
        "passkey_challenges",
        "expire_time",
        "299 seconds",
    )
    .await;
    finish_registration(&ada.client, &credential).await.unwrap();
    let refusal = finish_registration(&ada.client, &credential).await;
    assert_eq!(fault(refusal), "CHALLENGE");
    let credential = SoftPasskey::new().register(&creation_options(&ben).await);
    backdate(
        &server.database,
        "passkey_challenges",
        "expire_time",
        "301 seconds",
    )
    .await;
    let refusal = finish_registration(&ben.client, &credential).await;
    assert_eq!(fault(refusal), "CHALLENGE");
}

#[rstest]
#[tokio::test]
async fn a_credential_belongs_to_one_user(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let (mut passkey, codes) = register(&ada).await;
    let handle = passkey.user_handle.clone();

    for (user, options) in [
        (&ben, creation_options(&ben).await),
        (&ada, creation_options_with_code(&ada, &codes[0]).await),
    ] {
        let credential = passkey.register(&options);
        let refusal = finish_registration(&user.client, &credential).await;
        assert_eq!(fault(refusal), "ALREADY_REGISTERED");
    }

    passkey.user_handle = handle;
    let signed_in = sign_in(&server.channel, &mut passkey).await.unwrap();
    assert_eq!(signed_in.into_inner().user.unwrap().id, ada.user.id);
    assert_eq!(list(&ben.client).await, []);
    sign_in_without_code(&server.channel, &ben.email, ben.password)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn a_user_has_at_most_ten_passkeys(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut passkey, codes) = register(&ada).await;
    for code in &codes[..8] {
        register_another(&ada, code).await;
    }
    let waiting = creation_options_with_code(&ada, &codes[8]).await;
    register_another(&ada, &codes[9]).await;
    assert_eq!(list(&ada.client).await.len(), 10);

    let limit = (Code::FailedPrecondition, "SECOND_FACTOR_LIMIT_REACHED");
    let shown = assertion(&server.channel, &mut passkey).await;
    let request = pb::BeginPasskeyRegistrationRequest {
        password: ada.password.to_owned(),
        passkey_assertion: shown,
        ..Default::default()
    };
    let refusal = refused(begin_registration_with(&ada, request).await);
    assert_eq!(refusal.class(), limit);
    let credential = SoftPasskey::new().register(&waiting);
    let refusal = refused(finish_registration(&ada.client, &credential).await);
    assert_eq!(refusal.class(), limit);
    assert_eq!(list(&ada.client).await.len(), 10);
}

#[rstest]
#[tokio::test]
async fn a_passkey_is_renamed_and_removed_only_by_its_user(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let (mut passkey, codes) = register(&ada).await;
    let (mut of_ben, _) = register(&ben).await;

    let renamed = rename(&ada.client, &passkey.id, "Phone").await.unwrap();
    let renamed = renamed.into_inner().passkey.unwrap();
    assert_eq!(renamed.display_name, "Phone");
    assert_eq!(list(&ada.client).await, [renamed]);
    let refusal = refused(rename(&ben.client, &passkey.id, "Mine").await);
    assert_eq!(refusal.class(), NOT_FOUND);
    let shown = assertion(&server.channel, &mut of_ben).await;
    let refusal = refused(delete(&ben.client, &passkey.id, "", &shown).await);
    assert_eq!(refusal.class(), NOT_FOUND);
    let refusal = delete(&ada.client, &passkey.id, "", &shown).await;
    assert_eq!(fault(refusal), "UNKNOWN_PASSKEY");
    let refusal = refused(delete(&ada.client, &passkey.id, UNKNOWN_CODE, "").await);
    assert_eq!(refusal.class(), INVALID);

    let another = register_another(&ada, &codes[0]).await;
    delete(&ada.client, &another.id, &codes[1], "")
        .await
        .unwrap();
    let unused = second_factor_calls::list(&ada.client).await;
    assert_eq!(unused.unused_recovery_codes, 8);
    // The passkey proves its own removal. It was the last second factor.
    let shown = assertion(&server.channel, &mut passkey).await;
    delete(&ada.client, &passkey.id, "", &shown).await.unwrap();

    assert_eq!(list(&ada.client).await, []);
    let unused = second_factor_calls::list(&ada.client).await;
    assert_eq!(unused.unused_recovery_codes, 0);
    sign_in_without_code(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();
    let refusal = sign_in(&server.channel, &mut passkey).await;
    assert_eq!(fault(refusal), "UNKNOWN_PASSKEY");
    let refusal = refused(delete(&ada.client, &passkey.id, &codes[2], "").await);
    assert_eq!(refusal.class(), NOT_FOUND);
}

/// One kind of second factor proves the other, and the recovery codes are those of both.
#[rstest]
#[tokio::test]
async fn passkeys_and_authenticators_share_their_recovery_codes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut authenticator, codes) = enrol(&ada).await;
    let options = creation_options_with_code(&ada, &authenticator.next_code()).await;
    let mut passkey = SoftPasskey::new();
    let more = finish(&ada, &mut passkey, &options).await;
    assert_eq!(more, Vec::<String>::new());

    let request = pb::DeleteSecondFactorRequest {
        second_factor_id: authenticator.id.clone(),
        passkey_assertion: assertion(&server.channel, &mut passkey).await,
        ..Default::default()
    };
    ada.client
        .auth
        .clone()
        .delete_second_factor(request)
        .await
        .unwrap();
    let listed = second_factor_calls::list(&ada.client).await;
    assert_eq!(listed.second_factors, []);
    assert_eq!(listed.unused_recovery_codes, 10);
    let refusal = sign_in_without_code(&server.channel, &ada.email, ada.password).await;
    assert_eq!(refused(refusal).class(), REQUIRED);

    let request = pb::RegenerateRecoveryCodesRequest {
        passkey_assertion: assertion(&server.channel, &mut passkey).await,
        ..Default::default()
    };
    let mut auth = ada.client.auth.clone();
    let new = auth.regenerate_recovery_codes(request).await.unwrap();
    let new = new.into_inner().recovery_codes;
    let refusal = second_factor_calls::sign_in(&server.channel, &ada, &codes[0]).await;
    assert_eq!(refused(refusal).class(), INVALID);
    let (_, of_authenticator) = enrol_another(&ada, &new[0]).await;
    assert_eq!(of_authenticator, Vec::<String>::new());
    delete(&ada.client, &passkey.id, &new[1], "").await.unwrap();
    let listed = second_factor_calls::list(&ada.client).await;
    assert_eq!(listed.unused_recovery_codes, 8);
}

#[rstest]
#[tokio::test]
async fn every_change_of_passkeys_is_audited_and_told(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = verified_user(&server).await;
    let credential = SoftPasskey::new().register(&creation_options(&ada).await);
    let finished = finish_registration(&ada.client, &credential).await;
    let finished = finished.unwrap().into_inner();
    let (id, codes) = (finished.passkey.unwrap().id, finished.recovery_codes);
    let database = &server.database;
    let added = database.mail(&ada.email, "New second factor", 1).await.body;
    assert!(
        added.contains("a passkey was added to your account"),
        "{added}"
    );
    assert!(!added.contains("Laptop"), "{added}");
    let refusal = finish_registration(&ada.client, &credential).await;
    assert_eq!(fault(refusal), "CHALLENGE");
    rename(&ada.client, &id, "Phone").await.unwrap();
    delete(&ada.client, &id, &codes[0], "").await.unwrap();
    let subject = "Second factor of your account removed";
    let removed = database.mail(&ada.email, subject, 1).await.body;
    assert!(
        removed.contains("a passkey of your account was removed"),
        "{removed}"
    );

    let entries = audit_entries(&ada.client).await;
    let entries: Vec<_> = entries
        .iter()
        .map(|(action, result)| (action.as_str(), result.as_str()))
        .filter(|(action, _)| action.contains("Passkey"))
        .collect();
    assert_eq!(
        entries,
        [
            ("BeginPasskeyRegistration", "OK"),
            ("FinishPasskeyRegistration", "OK"),
            ("FinishPasskeyRegistration", "PASSKEY_INVALID"),
            ("UpdatePasskey", "OK"),
            ("DeletePasskey", "OK"),
        ]
    );
}

#[rstest]
#[tokio::test]
async fn every_invalid_field_of_a_passkey_is_named(#[values(Sqlite)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let request = pb::BeginPasskeyRegistrationRequest {
        password: "pass\0word".to_owned(),
        second_factor_code: "1".to_owned(),
        passkey_assertion: String::new(),
    };
    let refusal = refused(begin_registration_with(&ada, request).await);
    assert_eq!(refusal.fields(), ["password", "second_factor_code"]);
    let request = pb::FinishPasskeyRegistrationRequest::default();
    let mut auth = ada.client.auth.clone();
    let refusal = refused(auth.finish_passkey_registration(request).await);
    assert_eq!(refusal.fields(), ["credential", "display_name"]);
    let refusal = refused(finish_registration(&ada.client, &json!({"type": "x"})).await);
    assert_eq!(refusal.fields(), ["credential"]);
    let refusal = refused(rename(&ada.client, "x", "").await);
    assert_eq!(refusal.fields(), ["display_name", "passkey_id"]);
    let refusal = refused(delete(&ada.client, "", "", "").await);
    assert_eq!(refusal.fields(), ["passkey_id", "second_factor_code"]);
    let refusal = refused(delete(&ada.client, "", "", "{}").await);
    assert_eq!(refusal.fields(), ["passkey_assertion", "passkey_id"]);
    // One of them is enough.
    let refusal = refused(delete(&ada.client, "", "123456", "{}").await);
    assert_eq!(refusal.fields(), ["passkey_assertion", "passkey_id"]);
    for text in ["", "{}", "[1]", &"x".repeat(17 * 1024)] {
        let refusal = refused(sign_in_with(&server.channel, text).await);
        assert_eq!(refusal.fields(), ["passkey_assertion"], "{text}");
        if !text.is_empty() {
            let refusal = refused(sign_in_with_password(&server.channel, &ada, text).await);
            assert_eq!(refusal.fields(), ["passkey_assertion"], "{text}");
        }
    }
}

/// Of an account whose address nobody has proved to own, a passkey may be a stranger's.
#[rstest]
#[tokio::test]
async fn a_planted_passkey_ends_with_a_reset_and_all_end_with_the_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (planter, ada) = (server.user().await, verified_user(&server).await);
    let (mut planted, _) = register(&planter).await;
    let (mut passkey, codes) = register(&ada).await;
    creation_options_with_code(&ada, &codes[0]).await;
    for user in [&planter, &ada] {
        let token = reset_token(&server, user).await;
        reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();
    }

    let refusal = sign_in(&server.channel, &mut planted).await;
    assert_eq!(fault(refusal), "UNKNOWN_PASSKEY");
    let signed_in = sign_in(&server.channel, &mut passkey).await.unwrap();
    let tokens = signed_in.into_inner().tokens.unwrap();
    let request = pb::DeleteMeRequest {
        password: NEW_PASSWORD.to_owned(),
    };
    let client = Client::with_token(&server.channel, &tokens.access_token);
    client.auth.clone().delete_me(request).await.unwrap();
    for table in ["passkeys", "passkey_challenges"] {
        let left = format!("select count(*) from {table} where user_id is not null");
        assert_eq!(server.database.number(&left).await, 0, "{table}");
    }
    let refusal = sign_in(&server.channel, &mut passkey).await;
    assert_eq!(fault(refusal), "UNKNOWN_PASSKEY");
}

#[rstest]
#[tokio::test]
async fn without_its_settings_a_server_has_no_passkeys_but_shows_and_removes_them(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut passkey, codes) = register(&ada).await;
    let options = creation_options_with_code(&ada, &codes[0]).await;
    let credential = SoftPasskey::new().register(&options);
    let shown = assertion(&server.channel, &mut passkey).await;
    let database = server.stop().await;
    let process = Process::serve(&database, &[]);
    let channel = process.channel().await;
    let token = second_factor_calls::sign_in(&channel, &ada, &codes[1]).await;
    let token = token.unwrap().into_inner().tokens.unwrap();
    let ada = User {
        client: Client::with_token(&channel, &token.access_token),
        ..ada
    };

    let disabled = (Code::FailedPrecondition, "PASSKEYS_DISABLED");
    let mut anonymous = Client::anonymous(&channel).auth;
    let request = pb::BeginPasskeyAuthenticationRequest {};
    let begun = anonymous.begin_passkey_authentication(request).await;
    assert_eq!(refused(begun).class(), disabled);
    assert_eq!(refused(begin_registration(&ada).await).class(), disabled);
    let finished = finish_registration(&ada.client, &credential).await;
    assert_eq!(refused(finished).class(), disabled);
    let signed_in = passkey_calls::sign_in_with(&channel, &shown).await;
    assert_eq!(refused(signed_in).class(), disabled);
    let signed_in = sign_in_with_password(&channel, &ada, &shown).await;
    assert_eq!(refused(signed_in).class(), disabled);

    assert_eq!(list(&ada.client).await.len(), 1);
    rename(&ada.client, &passkey.id, "Old laptop")
        .await
        .unwrap();
    delete(&ada.client, &passkey.id, &codes[2], "")
        .await
        .unwrap();
    sign_in_without_code(&channel, &ada.email, ada.password)
        .await
        .unwrap();
}
