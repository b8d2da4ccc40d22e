use rstest::rstest;

use super::{
    calls::{backdate, get_me, sign_in},
    mail_calls::{
        INVALID, NEW_PASSWORD, RESET, let_a_minute_pass, request_reset, reset, reset_token,
        verification_token, verify,
    },
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn a_reset_token_works_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = reset_token(&server, &ada).await;
    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let refusal = refused(reset(&server.channel, &token, "another fine day in May").await);

    assert_eq!(refusal.class(), INVALID);
    sign_in(&server.channel, &ada.email, NEW_PASSWORD)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn exactly_one_of_several_concurrent_uses_succeeds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = reset_token(&server, &ada).await;

    let mut uses = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (channel, token) = (server.channel.clone(), token.clone());
        uses.spawn(async move {
            let password = format!("{NEW_PASSWORD} {number}");
            let answer = reset(&channel, &token, &password).await;
            (password, answer)
        });
    }

    let mut winners = Vec::new();
    for (password, answer) in uses.join_all().await {
        match answer {
            Ok(_) => winners.push(password),
            Err(status) => assert_eq!(refused::<()>(Err(status)).class(), INVALID),
        }
    }
    assert_eq!(winners.len(), 1);
    sign_in(&server.channel, &ada.email, &winners[0])
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn an_invalid_reset_token_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let other = verification_token(&server, &ada).await;

    for token in [&*other, &format!("slm_{}", "0".repeat(64)), "slm_", "x"] {
        let refusal = refused(reset(&server.channel, token, NEW_PASSWORD).await);
        assert_eq!(refusal.class(), INVALID, "{token}");
    }

    get_me(&ada.client).await.unwrap();
    sign_in(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn a_reset_token_works_for_half_an_hour(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let early = reset_token(&server, &ada).await;
    let late = reset_token(&server, &ben).await;

    let database = &server.database;
    backdate(database, "mail_tokens", "expire_time", "1740 seconds").await;
    reset(&server.channel, &early, NEW_PASSWORD).await.unwrap();
    backdate(database, "mail_tokens", "expire_time", "60 seconds").await;
    let refusal = refused(reset(&server.channel, &late, NEW_PASSWORD).await);

    assert_eq!(refusal.class(), INVALID);
}

#[rstest]
#[tokio::test]
async fn a_reset_token_works_only_for_the_address_it_was_sent_to(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = reset_token(&server, &ada).await;
    let moved = "update users set email = 'new@example.com', email_key = 'new@example.com'";
    server.database.execute(moved).await;

    let refusal = refused(reset(&server.channel, &token, NEW_PASSWORD).await);

    assert_eq!(refusal.class(), INVALID);
    get_me(&ada.client).await.unwrap();
}

/// Otherwise anyone could invalidate a message by requesting another one.
#[rstest]
#[tokio::test]
async fn a_later_message_does_not_invalidate_an_earlier_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let first = reset_token(&server, &ada).await;

    let_a_minute_pass(&server).await;
    request_reset(&server.channel, &ada.email).await.unwrap();
    let second = server.database.mail(&ada.email, RESET, 2).await.token();

    reset(&server.channel, &first, NEW_PASSWORD).await.unwrap();
    let refusal = refused(reset(&server.channel, &second, NEW_PASSWORD).await);
    assert_eq!(refusal.class(), INVALID);
}

#[rstest]
#[tokio::test]
async fn a_reset_invalidates_the_other_message_tokens_of_the_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let of_ada = verification_token(&server, &ada).await;
    let of_ben = verification_token(&server, &ben).await;
    let token = reset_token(&server, &ada).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let answer = sign_in(&server.channel, &ada.email, NEW_PASSWORD).await;
    let tokens = answer.unwrap().into_inner().tokens.unwrap();
    let ada = Client::with_token(&server.channel, &tokens.access_token);
    let refusal = refused(verify(&ada, &of_ada).await);
    assert_eq!(refusal.class(), INVALID);
    verify(&ben.client, &of_ben).await.unwrap();
}
