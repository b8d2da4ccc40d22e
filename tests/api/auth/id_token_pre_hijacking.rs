//! Predecessor's defect G10: whoever made an account with somebody else's address
//! kept it when its owner came with Google.

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
    calls::{exchange, get_me, key, key_of, refresh, session, sign_in, token_of},
    id_token_fixture::{Scene, client_of},
};
use crate::harness::{Client, Engine, Postgres, Sqlite, config, eventually, refused};

#[rstest]
#[tokio::test]
async fn a_squatter_loses_the_account_when_the_owner_signs_in(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let channel = &scene.server.channel;
    let squatter = scene.server.user().await;
    let second = session(&scene.server, &squatter).await;
    let (_, secret) = key(&squatter, key_of(&["projects:read"])).await;
    let program = token_of(&scene.server, &secret).await;
    let (project, _) = squatter.project().await;

    let claims = scene.issuer.claims_of("ada", &squatter.email);
    let owner = scene.signed_in(&claims).await;

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
    };
    let refusal = refused(program.project.get_project(get.clone()).await);
    assert_eq!(refusal.class(), invalid);
    let refusal = refused(exchange(channel, &secret).await);
    assert_eq!(refusal.class(), (Code::Unauthenticated, "API_KEY_INVALID"));
    let refusal = refused(sign_in(channel, &squatter.email, squatter.password).await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), class);

    let mut client = client_of(&scene.server, &owner);
    let me = get_me(&client).await.unwrap().into_inner().user.unwrap();
    assert_eq!(me, user);
    client.project.get_project(get).await.unwrap();
    let keys = client.auth.list_api_keys(pb::ListApiKeysRequest::default());
    assert!(keys.await.unwrap().into_inner().api_keys.is_empty());
}

#[rstest]
#[tokio::test]
async fn the_squatters_credentials_are_refused_by_every_replica(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let squatter = scene.server.user().await;
    let (_, secret) = key(&squatter, key_of(&["projects:read"])).await;
    let replica = scene.server.replica().await;
    let person = Client::with_token(&replica, &squatter.tokens.access_token);
    let program = Client::with_token(&replica, &token_of(&scene.server, &secret).await);
    let list = pb::ListProjectsRequest::default;
    get_me(&person).await.unwrap();
    program.project.clone().list_projects(list()).await.unwrap();

    let claims = scene.issuer.claims_of("ada", &squatter.email);
    scene.signed_in(&claims).await;

    let refusal = eventually("the replica learns of the session", async || {
        let answer = get_me(&person).await;
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
    let scene = Scene::start(engine).await;
    let squatter = scene
        .signed_in(&scene.unverified("squatter", "ada@example.com"))
        .await;
    assert!(squatter.created);

    let owner = scene
        .signed_in(&scene.issuer.claims_of("ada", "ada@example.com"))
        .await;

    assert_eq!(owner.user.unwrap().id, squatter.user.as_ref().unwrap().id);
    let refusal = refused(get_me(&client_of(&scene.server, &squatter)).await);
    assert_eq!(refusal.reason, "ACCESS_TOKEN_INVALID");
    let again = scene
        .sign_in(&scene.unverified("squatter", "ada@example.com"))
        .await;
    let class = (Code::AlreadyExists, "EMAIL_TAKEN");
    assert_eq!(refused(again).class(), class);
}

#[rstest]
#[tokio::test]
async fn other_accounts_and_identities_are_not_affected(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (squatter, grace) = (scene.server.user().await, scene.server.user().await);
    let (_, secret) = key(&grace, key_of(&["projects:read"])).await;
    let other = scene
        .signed_in(&scene.claims_with(&[("sub", json!("other"))]))
        .await;

    scene
        .signed_in(&scene.issuer.claims_of("ada", &squatter.email))
        .await;

    get_me(&grace.client).await.unwrap();
    token_of(&scene.server, &secret).await;
    sign_in(&scene.server.channel, &grace.email, grace.password)
        .await
        .unwrap();
    get_me(&client_of(&scene.server, &other)).await.unwrap();
    let again = scene
        .signed_in(&scene.claims_with(&[("sub", json!("other"))]))
        .await;
    assert_eq!(again.user, other.user);
}

/// A sign-in that had found the account before the take-over dropped its identity
/// begins no session in it.
#[rstest]
#[tokio::test]
async fn a_session_is_created_only_while_its_identity_is_linked_to_the_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let ada = scene.server.user().await;
    let settings = config(&scene.server.database, &[]).database();
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
            last_used_time: now(),
            expire_time: now(),
        };
        let act =
            AuditContext::for_user("SignInWithIdToken", Some(user_id), RequestOrigin::default());
        let credential = VerifiedCredential::Identity(&identity);
        sessions
            .create(&session, credential, b"address", &act)
            .await
    };

    assert!(matches!(begin().await, Err(Error::ConcurrentChange)));
    let link = format!(
        "insert into identities (issuer, subject, user_id, create_time)
         select 'https://id.example.com', 'ada', id, create_time from users
         where email = '{}'",
        ada.email
    );
    scene.server.database.execute(&link).await;
    begin().await.unwrap();
}
