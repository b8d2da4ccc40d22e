use rstest::rstest;
use serde_json::json;
use sluice::proto::v1 as pb;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tokio::task::JoinSet;
use tonic::Code;

use super::{
    calls::{api_key_request, api_key_token, get_me, new_api_key, refreshed, sign_in},
    id_token_fixture::{IdTokenFixture, sign_in_with_id_token, signed_in_client},
};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer, User, eventually, refused};

const TAKEN: (Code, &str) = (Code::AlreadyExists, "EMAIL_TAKEN");

/// Marks the address of a user as verified.
async fn mark_verified(server: &TestServer, user: &User) {
    let statement = format!(
        "update users set email_verified = true where email = '{}'",
        user.email
    );
    server.database.execute(&statement).await;
}

#[rstest]
#[tokio::test]
async fn an_identity_is_linked_to_the_verified_account_of_its_address(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let ada = fixture.server.user().await;
    mark_verified(&fixture.server, &ada).await;
    let (_, secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;

    let claims = fixture
        .issuer
        .claims_with_email("ada", &ada.email.to_uppercase());
    let answer = fixture.signed_in(&claims).await;

    assert!(!answer.created);
    assert_eq!(answer.user.unwrap().id, ada.user.id);
    // Everything that the owner created stays valid.
    get_me(&ada.client).await.unwrap();
    sign_in(&fixture.server.channel, &ada.email, ada.password)
        .await
        .unwrap();
    refreshed(&fixture.server.channel, &ada.tokens.refresh_token).await;
    api_key_token(&fixture.server, &secret).await;
}

#[rstest]
#[tokio::test]
async fn the_link_is_audited_and_survives_a_changed_address(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let ada = fixture.server.user().await;
    mark_verified(&fixture.server, &ada).await;
    let linked = fixture
        .signed_in(&fixture.issuer.claims_with_email("ada", &ada.email))
        .await;

    // Later claims of the issuer about the address change nothing.
    for email in ["elsewhere@example.org", "nobody@example.com"] {
        let claims = fixture.unverified("ada", email);
        let user = fixture.signed_in(&claims).await.user.unwrap();
        assert_eq!(
            (user.id, user.email),
            (ada.user.id.clone(), ada.email.clone())
        );
    }
    let client = signed_in_client(&fixture.server, &linked);
    let request = pb::ListAuditEventsRequest::default();
    let events = client.auth.clone().list_audit_events(request).await;
    let events = events.unwrap().into_inner().audit_events;
    let with_id_token = events
        .iter()
        .filter(|event| event.action == "SignInWithIdToken" && event.result == "OK");
    // Three sessions, and the link.
    assert_eq!(with_id_token.count(), 4);
}

#[rstest]
#[tokio::test]
async fn a_non_authoritative_issuer_cannot_sign_in_to_an_existing_account(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(true, false)] verified: bool,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let ada = fixture.server.user().await;
    if verified {
        mark_verified(&fixture.server, &ada).await;
    }
    let before = get_me(&ada.client).await.unwrap().into_inner();

    let elsewhere = "ada@example.org";
    let taken = format!(
        "update users set email = '{elsewhere}', email_key = '{elsewhere}' where email = '{}'",
        ada.email
    );
    let claims = [
        fixture.unverified("1", &ada.email),
        fixture.claims_with(&[
            ("email", json!(ada.email)),
            ("email_verified", json!("false")),
        ]),
        fixture.claims_with(&[("email", json!(ada.email)), ("email_verified", json!(null))]),
        fixture.claims_with(&[
            ("email", json!(ada.email)),
            ("email_verified", json!("yes")),
        ]),
    ];
    for claims in &claims {
        assert_eq!(
            refused(fixture.sign_in(claims).await).class(),
            TAKEN,
            "{claims}"
        );
    }
    assert_eq!(get_me(&ada.client).await.unwrap().into_inner(), before);
    // The issuer is not authoritative for this domain, whatever Google's `hd` says.
    fixture.server.database.execute(&taken).await;
    for hd in [json!(null), json!("example.org")] {
        let claims = fixture.claims_with(&[("email", json!(elsewhere)), ("hd", hd)]);
        assert_eq!(
            refused(fixture.sign_in(&claims).await).class(),
            TAKEN,
            "{claims}"
        );
    }

    let identities = fixture
        .server
        .database
        .number("select count(*) from identities");
    assert_eq!(identities.await, 0);
    sign_in(&fixture.server.channel, elsewhere, ada.password)
        .await
        .unwrap();
    refreshed(&fixture.server.channel, &ada.tokens.refresh_token).await;
    let me = get_me(&ada.client)
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(me.email_verified, verified);
}

#[rstest]
#[tokio::test]
async fn a_new_account_is_verified_only_if_the_issuer_is_authoritative(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;

    for (subject, email, verified, expected) in [
        ("1", "one@example.com", json!(true), true),
        ("2", "two@EXAMPLE.com", json!("true"), true),
        ("3", "three@example.com", json!(false), false),
        ("4", "four@example.com", json!(null), false),
        ("5", "five@example.org", json!(true), false),
        ("6", "six@mail.example.com", json!(true), false),
    ] {
        let mut claims = fixture.issuer.claims_with_email(subject, email);
        claims["email_verified"] = verified;
        let answer = fixture.signed_in(&claims).await;
        assert!(answer.created);
        let user = answer.user.unwrap();
        assert_eq!(user.email_verified, expected, "{email}");
        assert_eq!(user.email, email);
        assert_eq!(user.display_name, email.split('@').next().unwrap());
    }
}

#[rstest]
#[case::authoritative_issuer("ada@example.com")]
#[case::non_authoritative_issuer("ada@example.org")]
#[tokio::test]
async fn concurrent_first_sign_ins_create_one_account(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[case] email: &str,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let token = fixture
        .key
        .sign(&fixture.issuer.claims_with_email("ada", email));

    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let (channel, token) = (fixture.server.channel.clone(), token.clone());
        calls.spawn(async move { sign_in_with_id_token(&channel, &token, "").await });
    }
    let answers: Vec<_> = calls
        .join_all()
        .await
        .into_iter()
        .map(|answer| answer.unwrap().into_inner())
        .collect();

    let created = answers.iter().filter(|answer| answer.created).count();
    assert_eq!(created, 1);
    for answer in &answers {
        assert_eq!(answer.user, answers[0].user);
        get_me(&signed_in_client(&fixture.server, answer))
            .await
            .unwrap();
    }
    let users = fixture.server.database.number("select count(*) from users");
    assert_eq!(users.await, 1);
}

#[rstest]
#[tokio::test]
async fn concurrent_first_links_of_one_identity_end_only_earlier_sessions(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let squatter = fixture.server.user().await;
    let claims = fixture.issuer.claims_with_email("ada", &squatter.email);
    let token = fixture.key.sign(&claims);

    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let (channel, token) = (fixture.server.channel.clone(), token.clone());
        calls.spawn(async move { sign_in_with_id_token(&channel, &token, "").await });
    }
    for answer in calls.join_all().await {
        let answer = answer.unwrap().into_inner();
        assert!(!answer.created);
        assert_eq!(answer.user.as_ref().unwrap().id, squatter.user.id);
        get_me(&signed_in_client(&fixture.server, &answer))
            .await
            .unwrap();
    }
    let refusal = refused(get_me(&squatter.client).await);
    assert_eq!(refusal.reason, "ACCESS_TOKEN_INVALID");
}

#[rstest]
#[tokio::test]
async fn concurrent_identities_with_one_verified_address_share_its_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let squatter = fixture.server.user().await;

    let mut calls = JoinSet::new();
    for number in 0..8 {
        let claims = fixture
            .issuer
            .claims_with_email(&number.to_string(), &squatter.email);
        let (channel, token) = (fixture.server.channel.clone(), fixture.key.sign(&claims));
        calls.spawn(async move { sign_in_with_id_token(&channel, &token, "").await });
    }
    for answer in calls.join_all().await {
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.user.as_ref().unwrap().id, squatter.user.id);
        // None of them took the account from another.
        get_me(&signed_in_client(&fixture.server, &answer))
            .await
            .unwrap();
    }
    let identities = fixture
        .server
        .database
        .number("select count(*) from identities");
    assert_eq!(identities.await, 8);
}

/// The account is found before its deletion is committed, and is locked after it.
#[rstest]
#[tokio::test]
async fn an_identity_is_never_linked_to_an_account_that_is_deleted_meanwhile(
    #[values(true, false)] verified: bool,
) {
    let fixture = IdTokenFixture::start(Postgres).await;
    let ada = fixture.server.user().await;
    if verified {
        mark_verified(&fixture.server, &ada).await;
    }
    let database = &fixture.server.database;
    let mut deletion = PgConnection::connect(&database.url).await.unwrap();
    let mark = format!(
        "begin;
         update users
         set delete_time = now(), email = '', email_key = id::text, email_verified = false,
             display_name = '', password_hash = null
         where email = '{}'",
        ada.email
    );
    let mark = sqlx::raw_sql(AssertSqlSafe(mark));
    mark.execute(&mut deletion).await.unwrap();
    let claims = fixture.issuer.claims_with_email("ada", &ada.email);
    let delete = async {
        eventually("the sign-in waits for the account", async || {
            let waiting = "select count(*) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
            (database.number(waiting).await > 0).then_some(())
        })
        .await;
        let commit = sqlx::raw_sql("commit").execute(&mut deletion).await;
        commit.unwrap();
    };

    let (answer, ()) = tokio::join!(fixture.signed_in(&claims), delete);

    assert!(answer.created);
    assert_ne!(answer.user.unwrap().id, ada.user.id);
}
