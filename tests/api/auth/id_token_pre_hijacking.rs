//! Account pre-hijacking: a squatter signs up with the address of someone else.
//! Predecessor's defect G10: the squatter kept the account when the owner signed in with
//! Google.

use rstest::rstest;
use serde_json::json;
use sluice::{
    database::Database,
    domain::{AuditContext, Identity, RequestOrigin, Session, SessionId, UserId, now},
    error::Error,
    proto::v1 as pb,
    repositories::{Sessions, VerifiedCredential},
};
use tonic::Code;

use super::{
    calls::{
        api_key_request, api_key_token, exchange_api_key, get_me, new_api_key, new_session,
        refresh, sign_in,
    },
    id_token_fixture::{IdTokenFixture, signed_in_client},
    planted_project::PlantedProject,
};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, config, eventually, refused};

#[rstest]
#[tokio::test]
async fn a_squatter_loses_the_account_when_the_owner_signs_in(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let channel = &fixture.server.channel;
    let squatter = fixture.server.user().await;
    let second = new_session(&fixture.server, &squatter).await;
    let (_, secret) = new_api_key(&squatter, api_key_request(&["projects:read"])).await;
    let program = api_key_token(&fixture.server, &secret).await;
    let (project, _) = squatter.project().await;

    let claims = fixture.issuer.claims_with_email("ada", &squatter.email);
    let owner = fixture.signed_in(&claims).await;

    assert!(!owner.created);
    let user = owner.user.clone().unwrap();
    assert_eq!(user.id, squatter.user.id);
    assert!(user.email_verified);
    let invalid = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    for token in [&squatter.tokens, &second] {
        let client = Client::with_token(channel, &token.access_token);
        assert_eq!(refused(get_me(&client).await).class(), invalid);
        let refusal = refused(refresh(channel, &token.refresh_token).await);
        let class = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(refusal.class(), class);
    }
    let mut program = Client::with_token(channel, &program);
    let get = pb::GetProjectRequest {
        project_id: project.id,
        ..Default::default()
    };
    let refusal = refused(program.project.get_project(get.clone()).await);
    assert_eq!(refusal.class(), invalid);
    let refusal = refused(exchange_api_key(channel, &secret).await);
    assert_eq!(refusal.class(), (Code::Unauthenticated, "API_KEY_INVALID"));
    let refusal = refused(sign_in(channel, &squatter.email, squatter.password).await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), class);

    let mut client = signed_in_client(&fixture.server, &owner);
    let me = get_me(&client).await.unwrap().into_inner().user.unwrap();
    assert_eq!(me, user);
    client.project.get_project(get).await.unwrap();
    let keys = client.auth.list_api_keys(pb::ListApiKeysRequest::default());
    assert!(keys.await.unwrap().into_inner().api_keys.is_empty());
}

#[rstest]
#[tokio::test]
async fn the_squatters_stream_keys_streams_and_destinations_stop_working(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let squatter = fixture.server.user().await;
    let planted = PlantedProject::create(&fixture.server, &squatter).await;

    let claims = fixture.issuer.claims_with_email("ada", &squatter.email);
    let owner = fixture.signed_in(&claims).await;

    let owner = signed_in_client(&fixture.server, &owner);
    planted.assert_taken_over(&owner).await;
}

#[rstest]
#[tokio::test]
async fn the_squatters_credentials_are_refused_by_every_replica(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let squatter = fixture.server.user().await;
    let (_, secret) = new_api_key(&squatter, api_key_request(&["projects:read"])).await;
    let replica = fixture.server.replica().await;
    let user_client = Client::with_token(&replica, &squatter.tokens.access_token);
    let program = Client::with_token(&replica, &api_key_token(&fixture.server, &secret).await);
    let list = pb::ListProjectsRequest::default;
    get_me(&user_client).await.unwrap();
    program.project.clone().list_projects(list()).await.unwrap();

    let claims = fixture.issuer.claims_with_email("ada", &squatter.email);
    fixture.signed_in(&claims).await;

    let refusal = eventually("the replica learns of the session", async || {
        let answer = get_me(&user_client).await;
        answer.is_err().then(|| refused(answer))
    });
    assert_eq!(refusal.await.reason, "ACCESS_TOKEN_INVALID");
    let refusal = eventually("the replica learns of the API key", async || {
        let answer = program.project.clone().list_projects(list()).await;
        answer.is_err().then(|| refused(answer))
    });
    assert_eq!(refusal.await.reason, "ACCESS_TOKEN_INVALID");
}

#[rstest]
#[tokio::test]
async fn an_identity_with_an_unverified_address_loses_the_account_too(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let squatter = fixture
        .signed_in(&fixture.unverified("squatter", "ada@example.com"))
        .await;
    assert!(squatter.created);

    let owner = fixture
        .signed_in(&fixture.issuer.claims_with_email("ada", "ada@example.com"))
        .await;

    assert_eq!(owner.user.unwrap().id, squatter.user.as_ref().unwrap().id);
    let refusal = refused(get_me(&signed_in_client(&fixture.server, &squatter)).await);
    assert_eq!(refusal.reason, "ACCESS_TOKEN_INVALID");
    let again = fixture
        .sign_in(&fixture.unverified("squatter", "ada@example.com"))
        .await;
    let class = (Code::AlreadyExists, "EMAIL_TAKEN");
    assert_eq!(refused(again).class(), class);
}

#[rstest]
#[tokio::test]
async fn other_accounts_and_identities_are_not_affected(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let (squatter, grace) = (fixture.server.user().await, fixture.server.user().await);
    let (_, secret) = new_api_key(&grace, api_key_request(&["projects:read"])).await;
    let other = fixture
        .signed_in(&fixture.claims_with(&[("sub", json!("other"))]))
        .await;

    fixture
        .signed_in(&fixture.issuer.claims_with_email("ada", &squatter.email))
        .await;

    get_me(&grace.client).await.unwrap();
    api_key_token(&fixture.server, &secret).await;
    sign_in(&fixture.server.channel, &grace.email, grace.password)
        .await
        .unwrap();
    get_me(&signed_in_client(&fixture.server, &other))
        .await
        .unwrap();
    let again = fixture
        .signed_in(&fixture.claims_with(&[("sub", json!("other"))]))
        .await;
    assert_eq!(again.user, other.user);
}

/// A sign-in that found the account before its identity was unlinked creates no session.
#[rstest]
#[tokio::test]
async fn a_session_is_created_only_while_its_identity_is_linked_to_the_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let ada = fixture.server.user().await;
    let settings = config(&fixture.server.database, &[]).database();
    let sessions = Sessions::new(Database::open(&settings));
    let user_id = UserId::parse(&ada.user.id).unwrap();
    let identity = Identity {
        issuer: "https://id.example.com".to_owned(),
        subject: "ada".to_owned(),
        profile: None,
    };
    let begin = async || {
        let session = Session {
            id: SessionId::generate(),
            user_id,
            refresh_seed: Vec::new(),
            refresh_counter: 1,
            origin: RequestOrigin::default(),
            create_time: now(),
            auth_time: now(),
            last_used_time: now(),
            expire_time: now(),
        };
        let act =
            AuditContext::for_user("SignInWithIdToken", Some(user_id), RequestOrigin::default());
        let credential = VerifiedCredential::Identity(&identity);
        sessions
            .create(&session, credential, None, b"address", &act)
            .await
    };

    assert!(matches!(begin().await, Err(Error::ConcurrentChange)));
    let link = format!(
        "insert into identities (issuer, subject, user_id, create_time)
         select 'https://id.example.com', 'ada', id, create_time from users
         where email = '{}'",
        ada.email
    );
    fixture.server.database.execute(&link).await;
    begin().await.unwrap();
}
