use rstest::rstest;
use tokio::task::JoinSet;
use tonic::Code;

use super::calls::{get_me, new_session, refresh, refreshed};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, refused};

const INVALID: (Code, &str) = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
const REUSED: (Code, &str) = (Code::Unauthenticated, "REFRESH_TOKEN_REUSED");

#[rstest]
#[tokio::test]
async fn a_refresh_token_is_exchanged_for_a_new_pair(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let second = refreshed(&server.channel, &ada.tokens.refresh_token).await;
    let third = refreshed(&server.channel, &second.refresh_token).await;

    assert_eq!(third.token_type, "Bearer");
    assert_ne!(second.refresh_token, ada.tokens.refresh_token);
    assert_ne!(third.refresh_token, second.refresh_token);
    assert_ne!(third.access_token, second.access_token);
    for tokens in [&ada.tokens, &second, &third] {
        let client = Client::with_token(&server.channel, &tokens.access_token);
        let me = get_me(&client).await.unwrap().into_inner().user.unwrap();
        assert_eq!(me, ada.user);
    }
}

#[rstest]
#[tokio::test]
async fn a_repeated_refresh_after_a_lost_response_returns_the_same_successor(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let first = server.user().await.tokens.refresh_token;

    let lost = refreshed(&server.channel, &first).await.refresh_token;
    for _ in 0..3 {
        let again = refreshed(&server.channel, &first).await.refresh_token;
        assert_eq!(again, lost);
    }

    // The same holds for every later token.
    let third = refreshed(&server.channel, &lost).await.refresh_token;
    let again = refreshed(&server.channel, &lost).await.refresh_token;
    assert_eq!(again, third);
}

#[rstest]
#[tokio::test]
async fn reuse_of_an_older_token_ends_its_session(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let other = new_session(&server, &ada).await.refresh_token;
    let first = ada.tokens.refresh_token;
    let second = refreshed(&server.channel, &first).await.refresh_token;
    let third = refreshed(&server.channel, &second).await.refresh_token;

    let refusal = refused(refresh(&server.channel, &first).await);

    assert_eq!(refusal.class(), REUSED);
    let server = server.restart().await;
    for token in [&third, &second, &first] {
        let refusal = refused(refresh(&server.channel, token).await);
        assert_eq!(refusal.class(), INVALID);
    }
    refreshed(&server.channel, &other).await;
}

/// The token with another character at this position.
fn with_changed_character(token: &str, at: usize) -> String {
    let other = if token[at..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

#[rstest]
#[tokio::test]
async fn a_forged_refresh_token_is_refused_and_ends_no_session(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let grace = server.user().await;
    let first = &ada.tokens.refresh_token;
    let second = refreshed(&server.channel, first).await.refresh_token;
    let third = refreshed(&server.channel, &second).await.refresh_token;

    let session_of = |token: &str| token.split('_').nth(1).unwrap().to_owned();
    let (ours, hers) = (session_of(first), session_of(&grace.tokens.refresh_token));
    let unknown = third.replace(&ours, "01890a5dac96774bbcceb302099a8057");
    for forged in [
        // Of this session, but with another MAC or number.
        with_changed_character(&third, third.len() - 2),
        with_changed_character(&third, third.len() - 43),
        with_changed_character(first, first.len() - 2),
        third.replace("_3_", "_4_"),
        third.replace("_3_", "_1_"),
        third.replace("_3_", "_-1_"),
        third.replace("_3_", "_9223372036854775807_"),
        // Of another session, or of none.
        third.replace(&ours, &hers),
        grace.tokens.refresh_token.replace(&hers, &ours),
        unknown,
        // Malformed.
        "x".to_owned(),
        "slr_".to_owned(),
        "slr__1_".to_owned(),
        third.to_uppercase(),
        third[..third.len() - 1].to_owned(),
        format!("{third}A"),
        format!("{third}\0"),
        "é".repeat(100),
        "slr_".repeat(1000),
        ada.tokens.access_token.clone(),
    ] {
        let refusal = refused(refresh(&server.channel, &forged).await);
        assert_eq!(refusal.class(), INVALID, "{forged}");
    }

    refreshed(&server.channel, &third).await;
    refreshed(&server.channel, &grace.tokens.refresh_token).await;
}

#[tokio::test]
async fn an_empty_token_is_an_invalid_field() {
    let server = TestServer::start(Sqlite).await;

    for empty in ["", "  "] {
        let refusal = refused(refresh(&server.channel, empty).await);
        assert_eq!(refusal.fields(), ["refresh_token"]);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_concurrent_refreshes_of_one_token_return_one_successor(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;
    let parent = server.user().await.tokens.refresh_token;

    let mut calls = JoinSet::new();
    for channel in [&server.channel, &replica].into_iter().cycle().take(20) {
        let (channel, parent) = (channel.clone(), parent.clone());
        calls.spawn(async move { refreshed(&channel, &parent).await.refresh_token });
    }
    let mut successors = calls.join_all().await;

    successors.dedup();
    assert_eq!(successors.len(), 1, "{successors:?}");
    assert_ne!(successors[0], parent);
    refreshed(&replica, &successors[0]).await;
}

#[rstest]
#[tokio::test]
async fn a_session_survives_a_restart_and_continues_on_a_replica(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let server = server.restart().await;
    let client = Client::with_token(&server.channel, &ada.tokens.access_token);
    get_me(&client).await.unwrap();
    let second = refreshed(&server.channel, &ada.tokens.refresh_token).await;

    let replica = server.replica().await;
    let client = Client::with_token(&replica, &second.access_token);
    get_me(&client).await.unwrap();
    let third = refreshed(&replica, &second.refresh_token).await;
    refreshed(&server.channel, &third.refresh_token).await;
}
