//! Concurrent uses of refresh tokens, and replays of old ones.

use std::collections::BTreeSet;

use rstest::rstest;
use tokio::task::JoinSet;
use tonic::Code;

use super::calls::{get_me, refresh, refreshed};
use crate::harness::{
    Client, Engine, Pooled, Postgres, Process, Signal, Sqlite, TestDatabase, TestServer, refused,
};

const INVALID: (Code, &str) = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
const REUSED: (Code, &str) = (Code::Unauthenticated, "REFRESH_TOKEN_REUSED");

const ROUNDS: usize = 100;
const CALLS: usize = 50;

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_concurrent_refreshes_return_one_successor_a_hundred_times(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    // The rate limit of one address would refuse this many calls.
    let server = TestServer::start_with(engine, &["--address-rate=0"]).await;
    let replica = server.replica().await;
    let ada = server.user().await;
    let mut given = vec![ada.tokens.refresh_token];
    let mut access_token = ada.tokens.access_token;

    for round in 0..ROUNDS {
        let parent = &given[round];
        let mut calls = JoinSet::new();
        let replicas = [&server.channel, &replica].into_iter().cycle();
        for channel in replicas.take(CALLS) {
            let (channel, parent) = (channel.clone(), parent.clone());
            calls.spawn(async move { refreshed(&channel, &parent).await });
        }
        let answers = calls.join_all().await;

        let successors: BTreeSet<_> = answers.iter().map(|tokens| &tokens.refresh_token).collect();
        assert_eq!(successors.len(), 1, "round {round}: {successors:?}");
        given.push(answers[0].refresh_token.clone());
        access_token.clone_from(&answers[CALLS - 1].access_token);
    }

    // One token for each round, and the session goes on.
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), ROUNDS + 1);
    let client = Client::with_token(&replica, &access_token);
    get_me(&client).await.unwrap();

    // The newest token works, its predecessor returns it again, any older one is a replay.
    let newest = given.pop().unwrap();
    let parent = given.pop().unwrap();
    let again = refreshed(&replica, &parent).await.refresh_token;
    assert_eq!(again, newest);
    let stolen = given.pop().unwrap();
    assert_eq!(refused(refresh(&replica, &stolen).await).class(), REUSED);
    for token in [&newest, &parent, &stolen] {
        let refusal = refused(refresh(&server.channel, token).await);
        assert_eq!(refusal.class(), INVALID);
    }
}

/// The owner refreshes with the newest token while a thief replays an old one.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_token_ends_the_session_even_during_a_refresh(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;

    for round in 0..20 {
        let first = server.user().await.tokens.refresh_token;
        let second = refreshed(&server.channel, &first).await.refresh_token;
        let third = refreshed(&server.channel, &second).await.refresh_token;
        let (owner, thief) = match round % 2 {
            0 => (&server.channel, &replica),
            _ => (&replica, &server.channel),
        };

        let (newer, replayed) = tokio::join!(refresh(owner, &third), refresh(thief, &first));

        assert_eq!(refused(replayed).class(), REUSED);
        // Whether or not the owner got another one, none works any more.
        let newer = newer.ok().and_then(|answer| answer.into_inner().tokens);
        let newer = newer.map(|tokens| tokens.refresh_token);
        for token in newer.iter().chain([&third, &second, &first]) {
            let refusal = refused(refresh(&server.channel, token).await);
            assert_eq!(refusal.class(), INVALID);
        }
    }
}

/// A detected replay must survive the process that detected it.
#[rstest]
#[tokio::test]
async fn a_session_ended_by_a_replay_stays_ended_when_the_process_is_killed_at_once(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let settings = [("SLUICE_BCRYPT_COST", "4")];
    let mut program = Process::serve(&database, &settings);
    let channel = program.channel().await;
    let sign_up = sluice::proto::v1::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let mut auth = Client::anonymous(&channel).auth;
    let answer = auth.sign_up(sign_up).await.unwrap().into_inner();
    let first = answer.tokens.unwrap();
    let second = refreshed(&channel, &first.refresh_token).await;
    let third = refreshed(&channel, &second.refresh_token).await;

    let replayed = refresh(&channel, &first.refresh_token).await;
    program.signal(Signal::KILL);
    assert_eq!(refused(replayed).class(), REUSED);
    assert_eq!(program.wait_for_exit().await, None, "it was killed");

    let program = Process::serve(&database, &settings);
    let channel = program.channel().await;
    for tokens in [&third, &second, &first] {
        let refusal = refused(refresh(&channel, &tokens.refresh_token).await);
        assert_eq!(refusal.class(), INVALID);
        let client = Client::with_token(&channel, &tokens.access_token);
        let refusal = refused(get_me(&client).await);
        let expected = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
        assert_eq!(refusal.class(), expected);
    }
}
