use rstest::rstest;
use serde_json::json;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    calls::{get_me, refreshed, sign_in},
    id_token_fixture::{INVALID, IdTokenFixture, sign_in_with_id_token, signed_in_client},
};
use crate::harness::{
    Client, Engine, Issuer, IssuerKey, Pooled, Postgres, Process, Sqlite, TestDatabase, TestServer,
    refused,
};

#[rstest]
#[tokio::test]
async fn the_first_sign_in_creates_an_account_and_later_ones_reuse_it(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let mut claims = fixture.claims_with(&[("name", json!("Ada Lovelace"))]);

    let first = fixture.signed_in(&claims).await;
    claims["email"] = json!("countess@example.com");
    claims["name"] = json!("The Countess");
    let second = fixture.signed_in(&claims).await;

    assert!(first.created && !second.created);
    let user = first.user.clone().unwrap();
    assert_eq!(user.email, "ada@example.com");
    assert_eq!(user.display_name, "Ada Lovelace");
    assert!(user.email_verified);
    for answer in [&first, &second] {
        assert_eq!(answer.user.as_ref(), Some(&user));
        let me = get_me(&signed_in_client(&fixture.server, answer))
            .await
            .unwrap();
        assert_eq!(me.into_inner().user.as_ref(), Some(&user));
        let refresh_token = &answer.tokens.as_ref().unwrap().refresh_token;
        refreshed(&fixture.server.channel, refresh_token).await;
    }
}

#[rstest]
#[tokio::test]
async fn different_subjects_of_one_issuer_are_different_users(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;

    let ada = fixture.issuer.claims_with_email("1", "ada@example.com");
    let grace = fixture.issuer.claims_with_email("2", "grace@example.com");
    let ada = fixture.signed_in(&ada).await.user.unwrap();
    let grace = fixture.signed_in(&grace).await;

    assert!(grace.created);
    assert_ne!(grace.user.unwrap().id, ada.id);
}

#[rstest]
#[tokio::test]
async fn the_same_subject_of_two_issuers_is_two_users(#[values(Sqlite, Postgres)] engine: Engine) {
    let key = IssuerKey::p256("k1");
    let (acme, other) = (Issuer::start(&[&key]).await, Issuer::start(&[&key]).await);
    let second = other.setting().replace("name=acme", "name=other");
    let setting = format!("--oidc-providers={};{second}", acme.setting());
    let server = TestServer::start_with(engine, &[&setting]).await;
    let at_other = |id_token: String| pb::SignInWithIdTokenRequest {
        provider: "other".to_owned(),
        id_token,
        nonce: String::new(),
        ..Default::default()
    };

    let ada = key.sign(&acme.claims_with_email("1", "ada@example.com"));
    let grace = key.sign(&other.claims_with_email("1", "grace@example.com"));
    let first = sign_in_with_id_token(&server.channel, &ada, "")
        .await
        .unwrap();
    let mut auth = server.anonymous().auth;
    let second = auth.sign_in_with_id_token(at_other(grace)).await.unwrap();

    assert!(second.get_ref().created);
    assert_ne!(first.into_inner().user, second.into_inner().user);
    let crossed = auth.sign_in_with_id_token(at_other(ada)).await;
    assert_eq!(refused(crossed).class(), INVALID);
}

#[rstest]
#[tokio::test]
async fn an_email_address_is_required_only_to_create_an_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let without = [
        fixture.issuer.claims("ada"),
        fixture.claims_with(&[("email", json!(null))]),
        fixture.claims_with(&[("email", json!(""))]),
        fixture.claims_with(&[("email", json!("ada"))]),
    ];

    for claims in &without {
        let refusal = refused(fixture.sign_in(claims).await);
        assert_eq!(refusal.fields(), ["id_token"]);
        assert!(refusal.message.contains("scope email"), "{refusal:?}");
    }
    let user = fixture.signed_in(&fixture.claims_with(&[])).await.user;
    for claims in &without {
        assert_eq!(fixture.signed_in(claims).await.user, user);
    }
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let fixture = IdTokenFixture::start(Sqlite).await;
    let good = fixture.key.sign(&fixture.claims_with(&[]));
    let too_long = "x".repeat(16 * 1024 + 1);

    for (provider, id_token, fields) in [
        ("", &*good, &["provider"][..]),
        ("ACME", &*good, &["provider"]),
        ("google", &*good, &["provider"]),
        ("acme", "", &["id_token"]),
        ("acme", " ", &["id_token"]),
        ("acme", &*too_long, &["id_token"]),
        ("", "", &["id_token", "provider"]),
    ] {
        let request = pb::SignInWithIdTokenRequest {
            provider: provider.to_owned(),
            id_token: id_token.to_owned(),
            nonce: String::new(),
            ..Default::default()
        };
        let mut auth = fixture.server.anonymous().auth;
        let refusal = refused(auth.sign_in_with_id_token(request).await);
        assert_eq!(refusal.fields(), fields, "{provider:?}");
    }
    let refusal = refused(sign_in_with_id_token(&fixture.server.channel, &too_long[1..], "").await);
    assert_eq!(refusal.class(), INVALID);
}

#[tokio::test]
async fn a_server_without_issuers_accepts_no_id_token() {
    let server = TestServer::start(Sqlite).await;

    let refusal = refused(sign_in_with_id_token(&server.channel, "x", "").await);
    assert_eq!(refusal.fields(), ["provider"]);
}

#[rstest]
#[tokio::test]
async fn no_password_is_right_for_an_account_without_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let answer = fixture.signed_in(&fixture.claims_with(&[])).await;
    let ada = signed_in_client(&fixture.server, &answer);
    let known = fixture.server.user().await;
    let wrong = refused(sign_in(&fixture.server.channel, &known.email, "wrong horse").await);

    let refusal = refused(sign_in(&fixture.server.channel, "ada@example.com", "wrong horse").await);
    assert_eq!(format!("{refusal:?}"), format!("{wrong:?}"));
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    let change = pb::ChangePasswordRequest {
        current_password: "wrong horse".to_owned(),
        new_password: "correct horse battery staple".to_owned(),
    };
    let refusal = refused(ada.auth.clone().change_password(change).await);
    assert_eq!(refusal.class(), class);
    let delete = pb::DeleteMeRequest {
        password: "wrong horse".to_owned(),
    };
    let refusal = refused(ada.auth.clone().delete_me(delete).await);
    assert_eq!(refusal.class(), class);
    get_me(&ada).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn the_account_creation_and_every_sign_in_are_audited(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    fixture.signed_in(&fixture.claims_with(&[])).await;
    let answer = fixture.signed_in(&fixture.claims_with(&[])).await;

    let client = signed_in_client(&fixture.server, &answer);
    let request = pb::ListAuditEventsRequest::default();
    let events = client.auth.clone().list_audit_events(request).await;
    let events = events.unwrap().into_inner().audit_events;

    // Newest first: two sessions, and the creation of the account.
    assert_eq!(events.len(), 3);
    for event in &events {
        assert_eq!(
            (&*event.action, &*event.result),
            ("SignInWithIdToken", "OK")
        );
        assert_eq!(event.peer_address, "127.0.0.1");
    }
    let sessions: Vec<_> = events
        .iter()
        .map(|event| event.session_id.is_empty())
        .collect();
    assert_eq!(sessions, [false, false, true]);
}

#[rstest]
#[tokio::test]
async fn the_log_contains_no_part_of_an_id_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let key = IssuerKey::p256("k1");
    let issuer = Issuer::start(&[&key]).await;
    let database = TestDatabase::create(engine).await;
    let setting = issuer.setting();
    let settings = [
        ("SLUICE_OIDC_PROVIDERS", &*setting),
        ("SLUICE_LOG", "trace"),
    ];
    let program = Process::serve(&database, &settings);
    let channel = program.channel().await;
    let mut claims = issuer.claims_with_email("marked-subject-41c7", "marked-5e0b@example.com");
    claims["nonce"] = json!("marked-nonce-93aa");

    let good = key.sign(&claims);
    claims["exp"] = json!(1);
    let expired = key.sign(&claims);
    claims["exp"] = json!("marked-claim-0d2f");
    let malformed = key.sign(&claims);
    sign_in_with_id_token(&channel, &good, "marked-nonce-93aa")
        .await
        .unwrap();
    for bad in [&good, &expired, &malformed] {
        let refusal = refused(sign_in_with_id_token(&channel, bad, "marked-nonce-f00d").await);
        assert_eq!(refusal.class(), INVALID);
    }

    let log = program.log().join("\n");
    assert!(
        log.contains("an id token is refused"),
        "the refusal is logged"
    );
    for token in [&good, &expired, &malformed] {
        for part in token.split('.').skip(1) {
            assert!(!log.contains(part), "{part}");
        }
    }
    assert!(!log.contains("marked-nonce") && !log.contains("marked-claim"));
}

#[rstest]
#[tokio::test]
async fn deleting_the_account_deletes_its_identity(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = IdTokenFixture::start(engine).await;
    let ada = fixture.server.user().await;
    let claims = fixture.issuer.claims_with_email("ada", &ada.email);
    let verified = "update users set email_verified = true";
    fixture.server.database.execute(verified).await;
    assert!(!fixture.signed_in(&claims).await.created);

    let request = pb::DeleteMeRequest {
        password: ada.password.to_owned(),
    };
    let client: Client = ada.client.clone();
    client.auth.clone().delete_me(request).await.unwrap();

    let again = fixture.signed_in(&claims).await;
    assert!(again.created);
    assert_ne!(again.user.unwrap().id, ada.user.id);
}
