//! Random mutations of a valid token: all are refused, with an error that depends on their text only.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rstest::rstest;
use tokio::task::JoinSet;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{
    corrupted_tokens::other_trailing_bits,
    forgery::{Fault, fault_errors},
    signing_keys::{Signing, server},
};
use crate::contract::raw_rpc::{ObservableError, bearer, call};
use crate::harness::Sqlite;

/// The variable that repeats the mutations of an earlier run.
const SEED: &str = "SLUICE_TEST_SEED";

const GET_ME: &str = "/sluice.v1.AuthService/GetMe";

/// Mutated tokens per signing algorithm; there are two.
const MUTATIONS: usize = 50_000;

const CONNECTIONS: usize = 4;
const TASKS: usize = 8;

/// Calls of a task before a new connection: h2 closes one (ENHANCE_YOUR_CALM) after some
/// thousand requests whose bodies the server did not read.
const CALLS_PER_TASK: usize = 224;

/// Random mutations that a seed repeats (SplitMix64).
struct Mutator(u64);

impl Mutator {
    fn random_below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// A character of base64url, or sometimes any printable one.
    fn character(&mut self) -> u8 {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        match self.random_below(4) {
            0 => b'!' + self.random_below(usize::from(b'~' - b'!') + 1) as u8,
            _ => ALPHABET[self.random_below(64)],
        }
    }

    fn mutated_once(&mut self, token: &str) -> String {
        let mut bytes = token.as_bytes().to_vec();
        // Earlier mutations may have left almost nothing.
        if bytes.len() < 4 {
            return "x".to_owned();
        }
        let at = self.random_below(bytes.len());
        match self.random_below(9) {
            0 | 1 => bytes[at] = self.character(),
            2 => bytes.insert(at, self.character()),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(..at)),
            6 => {
                let other = self.random_below(bytes.len());
                bytes.swap(at, other);
            }
            7 => {
                let mut parts: Vec<_> = token.split('.').collect();
                let (one, other) = (
                    self.random_below(parts.len()),
                    self.random_below(parts.len()),
                );
                parts.swap(one, other);
                return parts.join(".");
            }
            // What lenient base64 decoders accept.
            _ => {
                return match self.random_below(6) {
                    0 => format!("{token}="),
                    1 => format!("{token}=="),
                    2 => token.replace('-', "+").replace('_', "/"),
                    3 => token.replace('.', "=."),
                    4 if token.ends_with(|last: char| last.is_ascii_alphanumeric()) => {
                        other_trailing_bits(token)
                    }
                    _ => format!("{}.{token}", &token[..at]),
                };
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    /// The token with one or more mutations; never the token itself.
    fn mutated(&mut self, token: &str) -> String {
        loop {
            let mut mutated = self.mutated_once(token);
            while self.random_below(3) == 0 {
                mutated = self.mutated_once(&mutated);
            }
            if mutated != token {
                return mutated;
            }
        }
    }
}

/// The error of a token; `None` if it is accepted.
async fn error_of(channel: &Channel, token: &str) -> Option<ObservableError> {
    loop {
        match call(channel, GET_ME, &[bearer(token)], Vec::new()).await {
            Ok(_) => return None,
            // On a slow machine a server may not have read its revocations in time, and
            // refuses all calls.
            Err(status) if status.code() == Code::Unavailable => {}
            Err(status) => return Some(ObservableError::of(&status)),
        }
    }
}

/// Calls with mutated tokens, one after the other; asserts their error.
async fn assert_refused(
    channel: Channel,
    token: Arc<str>,
    expected: Arc<BTreeMap<Fault, ObservableError>>,
    mut mutator: Mutator,
    calls: usize,
    seed: u64,
) {
    for _ in 0..calls {
        let mutated = mutator.mutated(&token);
        let error = error_of(&channel, &mutated).await;
        assert!(
            error.as_ref() == Some(&expected[&Fault::of(&mutated)]),
            "{SEED}={seed}\nof   {token}\nmade {mutated}\nanswered {error:?}"
        );
    }
}

fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64,
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_random_mutations_of_a_token_are_refused_by_their_text_only(
    #[values(Signing::Hs256, Signing::Ed25519)] signing: Signing,
) {
    let seed = seed();
    let (server, _, _directory) = server(Sqlite, signing).await;
    let ada = server.user().await;
    let token = Arc::<str>::from(ada.tokens.access_token);
    let expected = Arc::new(fault_errors(&server.channel).await);
    let address: SocketAddr = server.address;

    let mut connections = JoinSet::new();
    let per_task = MUTATIONS.div_ceil(CONNECTIONS * TASKS).min(CALLS_PER_TASK);
    let rounds = MUTATIONS.div_ceil(CONNECTIONS * TASKS * per_task);
    for connection in 0..CONNECTIONS {
        let (token, expected) = (Arc::clone(&token), Arc::clone(&expected));
        connections.spawn(async move {
            for round in 0..rounds {
                let channel = Endpoint::from_shared(format!("http://{address}"));
                let channel = channel.unwrap().connect_lazy();
                let tasks = (0..TASKS).map(|task| {
                    let at = (connection * rounds + round) * TASKS + task;
                    let mutator = Mutator(seed.wrapping_add(at as u64));
                    assert_refused(
                        channel.clone(),
                        Arc::clone(&token),
                        Arc::clone(&expected),
                        mutator,
                        per_task,
                        seed,
                    )
                });
                tasks.collect::<JoinSet<()>>().join_all().await;
            }
        });
    }
    connections.join_all().await;
    assert!(CONNECTIONS * TASKS * per_task * rounds >= MUTATIONS);

    // The token itself is still valid.
    assert_eq!(error_of(&server.channel, &token).await, None);
}
