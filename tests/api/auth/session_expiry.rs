use prost_types::Timestamp;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::calls::{backdate, comparable, get_me, refresh, refreshed};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, eventually, refused};

const INVALID: (Code, &str) = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");

/// How many seconds longer the refresh token of a pair works than the access token.
fn surplus(tokens: &pb::Tokens) -> i64 {
    let seconds = |time: Option<Timestamp>| time.unwrap().seconds;
    seconds(tokens.refresh_token_expire_time) - seconds(tokens.access_token_expire_time)
}

#[rstest]
#[tokio::test]
async fn tokens_state_their_expiry(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let flags = ["--session-idle-timeout=1h", "--session-lifetime=1day"];
    let server = TestServer::start_with(engine, &flags).await;

    let first = server.user().await.tokens;
    let second = refreshed(&server.channel, &first.refresh_token).await;

    // An hour less the 15 minutes of the access token.
    assert_eq!(surplus(&first), 2700);
    assert_eq!(surplus(&second), 2700);
}

#[rstest]
#[tokio::test]
async fn a_session_expires_after_the_idle_timeout(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let flags = ["--session-idle-timeout=1h", "--session-lifetime=1day"];
    let server = TestServer::start_with(engine, &flags).await;
    let first = server.user().await.tokens;

    // Twice most of the timeout: a refresh restarts it.
    backdate(&server.database, "sessions", "last_used_time", "55 minutes").await;
    let second = refreshed(&server.channel, &first.refresh_token).await;
    backdate(&server.database, "sessions", "last_used_time", "55 minutes").await;
    let third = refreshed(&server.channel, &second.refresh_token).await;

    backdate(&server.database, "sessions", "last_used_time", "65 minutes").await;
    for token in [&third.refresh_token, &second.refresh_token] {
        let refusal = refused(refresh(&server.channel, token).await);
        assert_eq!(refusal.class(), INVALID);
    }
}

#[rstest]
#[tokio::test]
async fn a_repeated_refresh_does_not_extend_the_expiry(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let flags = ["--session-idle-timeout=1h", "--session-lifetime=1day"];
    let server = TestServer::start_with(engine, &flags).await;
    let first = server.user().await.tokens;

    let lost = refreshed(&server.channel, &first.refresh_token).await;
    let again = refreshed(&server.channel, &first.refresh_token).await;

    assert_eq!(again.refresh_token, lost.refresh_token);
    assert_eq!(
        again.refresh_token_expire_time,
        lost.refresh_token_expire_time
    );
}

#[rstest]
#[tokio::test]
async fn a_refresh_does_not_extend_the_session_lifetime(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let flags = ["--session-idle-timeout=1h", "--session-lifetime=1h"];
    let server = TestServer::start_with(engine, &flags).await;
    let first = server.user().await.tokens;

    let second = refreshed(&server.channel, &first.refresh_token).await;
    assert_eq!(
        second.refresh_token_expire_time,
        first.refresh_token_expire_time
    );

    backdate(&server.database, "sessions", "expire_time", "65 minutes").await;
    for token in [&second.refresh_token, &first.refresh_token] {
        let refusal = refused(refresh(&server.channel, token).await);
        assert_eq!(refusal.class(), INVALID);
    }
}

#[rstest]
#[tokio::test]
async fn an_access_token_expires_with_its_session(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let flags = ["--session-idle-timeout=1h", "--session-lifetime=1h"];
    let server = TestServer::start_with(engine, &flags).await;
    let first = server.user().await.tokens;

    backdate(&server.database, "sessions", "expire_time", "3594 seconds").await;
    let last = refreshed(&server.channel, &first.refresh_token).await;

    let session_end = last.refresh_token_expire_time;
    assert_eq!(last.access_token_expire_time, session_end);
    let client = Client::with_token(&server.channel, &last.access_token);
    let refusal = eventually("the token expires", async || {
        let answer = get_me(&client).await;
        answer.is_err().then(|| refused(answer))
    })
    .await;
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED");
    assert_eq!(refusal.class(), class);
    let now = prost_types::Timestamp::from(std::time::SystemTime::now());
    let late = comparable(Some(now)).0 - comparable(session_end).0;
    assert!((0..5).contains(&late), "{late} seconds");
}

#[rstest]
#[tokio::test]
async fn an_access_token_does_not_outlive_the_idle_timeout_of_its_session(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let flags = ["--session-idle-timeout=1h", "--access-token-lifetime=2h"];
    let server = TestServer::start_with(engine, &flags).await;

    let tokens = server.user().await.tokens;

    assert_eq!(surplus(&tokens), 0);
}
