//! Random changes of a good token: none is taken, and all are refused alike.

use std::{
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
    forgery::refusal,
    signing_keys::{Signing, server},
};
use crate::contract::raw_rpc::{Shape, bearer, call};
use crate::harness::Sqlite;

/// Set it to see the changes of a run again.
const SEED: &str = "SLUICE_TEST_SEED";

const GET_ME: &str = "/sluice.v1.AuthService/GetMe";

/// Mutated tokens per signing algorithm; there are two.
const MUTATIONS: usize = 50_000;

const CONNECTIONS: usize = 4;
const LANES: usize = 8;

/// Then the connection is given up: h2 closes one (ENHANCE_YOUR_CALM) after some
/// thousand requests whose bodies the server did not care to read.
const CALLS_PER_LANE: usize = 250;

/// Random numbers that a seed gives again (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    /// A character of base64url, or sometimes any that a header may have.
    fn character(&mut self) -> u8 {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        match self.roll(4) {
            0 => b'!' + self.roll(usize::from(b'~' - b'!') + 1) as u8,
            _ => ALPHABET[self.roll(64)],
        }
    }

    fn changed_once(&mut self, token: &str) -> String {
        let mut bytes = token.as_bytes().to_vec();
        // Rarely is nothing left to change.
        if bytes.len() < 4 {
            return "x".to_owned();
        }
        let at = self.roll(bytes.len());
        match self.roll(9) {
            0 | 1 => bytes[at] = self.character(),
            2 => bytes.insert(at, self.character()),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(..at)),
            6 => {
                let other = self.roll(bytes.len());
                bytes.swap(at, other);
            }
            7 => {
                let mut parts: Vec<_> = token.split('.').collect();
                let (one, other) = (self.roll(parts.len()), self.roll(parts.len()));
                parts.swap(one, other);
                return parts.join(".");
            }
            // What base64 decoders of other houses let pass.
            _ => {
                return match self.roll(6) {
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

    /// The token with one change or a few; never the token itself.
    fn changed(&mut self, token: &str) -> String {
        loop {
            let mut changed = self.changed_once(token);
            while self.roll(3) == 0 {
                changed = self.changed_once(&changed);
            }
            if changed != token {
                return changed;
            }
        }
    }
}

/// How a token is refused; `None` if it is taken.
async fn answer(channel: &Channel, token: &str) -> Option<Shape> {
    loop {
        match call(channel, GET_ME, &[bearer(token)], Vec::new()).await {
            Ok(_) => return None,
            // A server on a slow machine that has not read its revocations in time
            // judges no token; so ask again.
            Err(status) if status.code() == Code::Unavailable => {}
            Err(status) => return Some(Shape::of(&status)),
        }
    }
}

/// Makes changed tokens and calls with them, one after the other.
async fn refuse(
    channel: Channel,
    token: Arc<str>,
    expected: Arc<Shape>,
    mut dice: Dice,
    calls: usize,
    seed: u64,
) {
    for _ in 0..calls {
        let changed = dice.changed(&token);
        let shape = answer(&channel, &changed).await;
        assert!(
            shape.as_ref() == Some(&*expected),
            "{SEED}={seed}\nof   {token}\nmade {changed}\nanswered {shape:?}"
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
async fn a_hundred_thousand_random_mutations_of_a_token_are_refused_with_the_same_response(
    #[values(Signing::Hs256, Signing::Ed25519)] signing: Signing,
) {
    let seed = seed();
    let (server, _, _directory) = server(Sqlite, signing).await;
    let ada = server.user().await;
    let token = Arc::<str>::from(ada.tokens.access_token);
    let expected = Arc::new(refusal(&server.channel).await);
    let address: SocketAddr = server.address;

    let mut connections = JoinSet::new();
    let per_lane = MUTATIONS.div_ceil(CONNECTIONS * LANES).min(CALLS_PER_LANE);
    let turns = MUTATIONS.div_ceil(CONNECTIONS * LANES * per_lane);
    for connection in 0..CONNECTIONS {
        let (token, expected) = (Arc::clone(&token), Arc::clone(&expected));
        connections.spawn(async move {
            for turn in 0..turns {
                let channel = Endpoint::from_shared(format!("http://{address}"));
                let channel = channel.unwrap().connect_lazy();
                let lanes = (0..LANES).map(|lane| {
                    let at = (connection * turns + turn) * LANES + lane;
                    let dice = Dice(seed.wrapping_add(at as u64));
                    refuse(
                        channel.clone(),
                        Arc::clone(&token),
                        Arc::clone(&expected),
                        dice,
                        per_lane,
                        seed,
                    )
                });
                lanes.collect::<JoinSet<()>>().join_all().await;
            }
        });
    }
    connections.join_all().await;
    assert!(CONNECTIONS * LANES * per_lane * turns >= MUTATIONS);

    // All this while the token itself was good, and still is.
    assert_eq!(answer(&server.channel, &token).await, None);
}
