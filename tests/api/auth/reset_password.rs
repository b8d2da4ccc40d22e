use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    calls::{
        api_key_request, exchange_api_key, get_me, new_api_key, new_session, refresh, sign_in,
    },
    mail_calls::{
        NEW_PASSWORD, audit_entries, is_verified, reset, reset_token, verification_token, verify,
    },
    planted_project::PlantedProject,
};
use crate::{
    harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, refused},
    project::fixtures::{create_destination, update_request, youtube_destination},
};

#[rstest]
#[tokio::test]
async fn a_reset_replaces_the_password_ends_all_sessions_and_verifies_the_address(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let other = new_session(&server, &ada).await;
    let token = reset_token(&server, &ada).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    for tokens in [&ada.tokens, &other] {
        let client = Client::with_token(&server.channel, &tokens.access_token);
        let refusal = refused(get_me(&client).await);
        let ended = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
        assert_eq!(refusal.class(), ended);
        let refusal = refused(refresh(&server.channel, &tokens.refresh_token).await);
        let ended = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(refusal.class(), ended);
    }
    let refusal = refused(sign_in(&server.channel, &ada.email, ada.password).await);
    let wrong = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), wrong);
    let answer = sign_in_without_wait(&server, &ada.email).await;
    assert!(answer.user.unwrap().email_verified);
    assert!(!is_verified(&ben).await);

    let ada = Client::with_token(&server.channel, &answer.tokens.unwrap().access_token);
    let audited = audit_entries(&ada).await;
    for action in ["RequestPasswordReset", "ResetPassword"] {
        let done = (action.to_owned(), "OK".to_owned());
        let times = audited.iter().filter(|entry| **entry == done).count();
        assert_eq!(times, 1, "{audited:?}");
    }
}

/// Attempts from elsewhere do not delay the owner there.
#[rstest]
#[tokio::test]
async fn the_address_of_a_reset_becomes_familiar(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, database) = (server.user().await, &server.database);
    let token = reset_token(&server, &ada).await;
    database.execute("delete from guesses").await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let familiar = "select count(*) from guesses where familiar_until is not null";
    assert_eq!(database.number(familiar).await, 1);
}

/// Signs in with the new password, without the wait after wrong ones.
async fn sign_in_without_wait(server: &TestServer, email: &str) -> pb::SignInResponse {
    let waiting = "update guesses set locked_until = update_time";
    server.database.execute(waiting).await;
    let answer = sign_in(&server.channel, email, NEW_PASSWORD).await;
    answer.unwrap().into_inner()
}

#[rstest]
#[tokio::test]
async fn a_rejected_password_does_not_use_up_the_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = reset_token(&server, &ada).await;

    // The last one is weak only because it is the owner's address.
    let own = &ada.email;
    for password in ["", "short", "password", &"x".repeat(72), own] {
        let refusal = refused(reset(&server.channel, &token, password).await);
        assert_eq!(refusal.fields(), ["new_password"], "{password}");
    }
    let refusal = refused(reset(&server.channel, " ", "short").await);
    assert_eq!(refusal.fields(), ["new_password", "token"]);

    get_me(&ada.client).await.unwrap();
    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn an_account_without_a_password_gets_one_and_is_verified(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let federated = "update users set password_hash = null";
    server.database.execute(federated).await;
    let token = reset_token(&server, &ada).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let answer = sign_in(&server.channel, &ada.email, NEW_PASSWORD).await;
    assert!(answer.unwrap().into_inner().user.unwrap().email_verified);
}

#[rstest]
#[tokio::test]
async fn a_reset_deletes_api_keys_and_identities_of_an_unverified_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let (_, of_unverified) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let (_, of_verified) = new_api_key(&ben, api_key_request(&["projects:read"])).await;
    let token = verification_token(&server, &ben).await;
    verify(&ben.client, &token).await.unwrap();
    let linked = "insert into identities (issuer, subject, user_id, create_time)
                  select 'https://issuer.example.com', email_key, id, create_time from users";
    server.database.execute(linked).await;

    for user in [&ada, &ben] {
        let token = reset_token(&server, user).await;
        reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();
    }

    let refusal = refused(exchange_api_key(&server.channel, &of_unverified).await);
    let ended = (Code::Unauthenticated, "API_KEY_INVALID");
    assert_eq!(refusal.class(), ended);
    exchange_api_key(&server.channel, &of_verified)
        .await
        .unwrap();
    let left = format!(
        "select count(*) from identities where subject = '{}'",
        ben.email
    );
    assert_eq!(server.database.number(&left).await, 1);
    let all = "select count(*) from identities";
    assert_eq!(server.database.number(all).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_reset_takes_the_projects_of_an_unverified_account_from_whoever_made_them(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let planter = server.user().await;
    let planted = PlantedProject::create(&server, &planter).await;
    let token = reset_token(&server, &planter).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let answer = sign_in_without_wait(&server, &planter.email).await;
    let owner = Client::with_token(&server.channel, &answer.tokens.unwrap().access_token);
    planted.assert_taken_over(&owner).await;
}

/// The owner of a mailbox may open the link of a message that somebody else caused.
#[rstest]
#[tokio::test]
async fn what_was_planted_ends_with_the_reset_although_the_owner_opened_the_verification_link(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (planter, stranger) = (server.user().await, server.user().await);
    let planted = PlantedProject::create(&server, &planter).await;
    let (_, secret) = new_api_key(&planter, api_key_request(&["projects:read"])).await;
    let token = verification_token(&server, &planter).await;
    for opened in [&server.anonymous(), &stranger.client] {
        verify(opened, &token).await.unwrap_err();
    }
    let token = reset_token(&server, &planter).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let refusal = refused(get_me(&planter.client).await);
    let ended = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refusal.class(), ended);
    let refusal = refused(exchange_api_key(&server.channel, &secret).await);
    let ended = (Code::Unauthenticated, "API_KEY_INVALID");
    assert_eq!(refusal.class(), ended);
    let answer = sign_in_without_wait(&server, &planter.email).await;
    let owner = Client::with_token(&server.channel, &answer.tokens.unwrap().access_token);
    planted.assert_taken_over(&owner).await;
}

#[rstest]
#[tokio::test]
async fn a_reset_leaves_the_projects_of_a_verified_account_alone(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = verification_token(&server, &ada).await;
    verify(&ada.client, &token).await.unwrap();
    let own = PlantedProject::create(&server, &ada).await;
    let token = reset_token(&server, &ada).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let answer = sign_in_without_wait(&server, &ada.email).await;
    let owner = Client::with_token(&server.channel, &answer.tokens.unwrap().access_token);
    own.assert_unchanged(&owner).await;
}

/// A replica accepts an ended access token for some seconds. Within them it must not show the new
/// key, or let the planter plant something again.
#[rstest]
#[tokio::test]
async fn after_a_reset_a_replica_gives_an_ended_session_no_key_and_takes_nothing_from_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let planter = server.user().await;
    let (project, _) = planter.project().await;
    let destination = create_destination(&planter, youtube_destination(&project)).await;
    let repeated = pb::CreateProjectRequest {
        display_name: "Repeated".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    planter.project_with(repeated.clone()).await;
    // As on a replica that has not heard of it yet: only the database knows that the session ended.
    let end = "update sessions set revoke_time = create_time";
    server.database.execute(end).await;

    let client = || planter.client.project.clone();
    let project_id = project.id.clone();
    let reveal = pb::RevealStreamKeyRequest {
        project_id: project_id.clone(),
    };
    let rotate = pb::RotateStreamKeyRequest {
        project_id,
        ..Default::default()
    };
    let create = pb::CreateProjectRequest {
        display_name: "New".to_owned(),
        ..Default::default()
    };
    let enable = pb::UpdateDestinationRequest {
        disabled: Some(false),
        ..update_request(&destination)
    };
    let refusals = [
        refused(client().reveal_stream_key(reveal).await),
        refused(client().rotate_stream_key(rotate).await),
        refused(client().create_project(create).await),
        refused(client().create_project(repeated).await),
        refused(
            client()
                .create_destination(youtube_destination(&project))
                .await,
        ),
        refused(client().update_destination(enable).await),
    ];

    for refusal in refusals {
        let ended = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
        assert_eq!(refusal.class(), ended);
    }
    let count = "select count(*) from projects";
    assert_eq!(server.database.number(count).await, 2);
    let count = "select count(*) from destinations";
    assert_eq!(server.database.number(count).await, 1);
}
