//! Rotations, revocations and expiries in random order over two replicas whose clocks are
//! wrong in opposite directions. Other transactions delay theirs, a proxy delays each message
//! to and from the database, and the replicas delay their calls and their periodic work, such as
//! the reading of revocations, at each await ([`AwaitDelays`](crate::harness::AwaitDelays)).
//!
//! A failure prints its seed: `SLUICE_TEST_SEED` repeats its plans and delays.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sluice::{domain::Scope, proto::v1 as pb};
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

use super::{
    delayed_replica,
    fixture::{HOUR, SkewedReplica},
};
use crate::{
    auth::calls::{expiring_api_key_request, new_api_key},
    harness::{
        Client, MediaServer, Postgres, Proxy, TestDatabase, TestServer, User, until_available,
    },
};

/// Users, all at the same time. Each has a random plan.
const USERS: usize = 16;

/// The time within which an ended token is refused.
const REVOCATION_TIME: Duration = Duration::from_secs(5);

/// How much later than at its expiry a token or key may be accepted: `exp` has whole seconds,
/// and each of the two replicas knows the database's clock within half of a round trip, which
/// may take two seconds.
const EXPIRY_PRECISION: Duration = Duration::from_millis(3500);

/// Calls while other transactions hold locks may be answered later than by default.
const SETTINGS: [(&str, &str); 3] = [
    ("SLUICE_ADDRESS_RATE", "0"),
    ("SLUICE_CALLER_RATE", "0"),
    ("SLUICE_DB_TIMEOUT", "1min"),
];

/// A step, some milliseconds after the one before, at one of the two replicas.
#[derive(Debug, Clone, Copy)]
struct Step<T> {
    delay: u64,
    replica: usize,
    action: T,
}

/// What happens with one user.
#[derive(Debug, Clone)]
struct Plan {
    /// Rotations with these grace periods in seconds.
    rotations: Vec<Step<u64>>,
    /// Publishes with a key so many rotations old.
    publishes: Vec<Step<usize>>,
    sign_out: Step<()>,
    /// The lifetime of an API key in seconds.
    api_key: Step<u64>,
}

fn step<T: std::fmt::Debug + Clone>(
    longest: u64,
    action: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Step<T>> {
    (0..longest, 0..2_usize, action).prop_map(|(delay, replica, action)| Step {
        delay,
        replica,
        action,
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec(step(400, prop_oneof![2 => Just(0_u64), 1 => Just(1)]), 2..6),
        prop::collection::vec(step(200, 0..3_usize), 8..20),
        step(2000, Just(())),
        step(500, 15..20_u64),
    )
        .prop_map(|(rotations, publishes, sign_out, api_key)| Plan {
            rotations,
            publishes,
            sign_out,
            api_key,
        })
}

/// A stream key, and from when on it must be refused.
#[derive(Debug, Clone)]
struct Key {
    text: String,
    invalid_from: Option<Instant>,
    /// Whether a rotation without grace has replaced it.
    was_ended: bool,
}

/// A user with the clients at both replicas.
struct Actor {
    user: User,
    media_servers: [MediaServer; 2],
    channels: [Channel; 2],
    project: pb::Project,
    keys: Mutex<Vec<Key>>,
    accepted: Arc<Accepted>,
}

/// The calls that were accepted while they had to be. Were all refused, no violation would be found.
#[derive(Debug, Default)]
struct Accepted {
    publishes: AtomicUsize,
    /// Of sessions and of API keys, before their end.
    tokens: AtomicUsize,
}

#[tokio::test]
async fn no_replaced_key_is_accepted_after_its_end_and_no_ended_token_five_seconds_later() {
    let seed = match env::var("SLUICE_TEST_SEED") {
        Ok(text) => text.parse().expect("SLUICE_TEST_SEED is a number"),
        Err(_) => random_seed(),
    };
    println!("SLUICE_TEST_SEED={seed}");
    let flags = ["--address-rate=0", "--db-timeout=1min"];
    let database = TestDatabase::create(Postgres).await;
    let (database, proxy) = Proxy::to_database(database).await;
    let server = TestServer::start_on(database, &flags).await;
    let replica = |seconds_ahead| {
        let command = delayed_replica::command(seed);
        SkewedReplica::start_by(command, &server.database, seconds_ahead, &SETTINGS)
    };
    let (ahead, behind) = tokio::join!(replica(HOUR), replica(-HOUR));
    let channels = [ahead.channel.clone(), behind.channel.clone()];
    let token = server.operator_token(&[Scope::StreamsPublish]).await;
    let delays = Delays::start(&server).await;
    proxy.delay_messages(seed);

    let mut seed_bytes = [0; 32];
    seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let accepted = Arc::<Accepted>::default();
    let mut runs = JoinSet::new();
    for _ in 0..USERS {
        let plan = plans().new_tree(&mut runner).unwrap().current();
        let actor = Actor::new(&server, &token, channels.clone(), accepted.clone()).await;
        runs.spawn(async move { actor.run(plan).await });
    }
    runs.join_all().await;
    delays.stop().await;

    let publishes = accepted.publishes.load(Ordering::Relaxed);
    let tokens = accepted.tokens.load(Ordering::Relaxed);
    println!("accepted: {publishes} publishes, {tokens} tokens");
    assert!(tokens >= USERS, "of {} tokens", 2 * USERS);
    // Most of the publishes above race with a rotation or meet a held lock; these must succeed.
    for channel in channels {
        let (_, stream_key) = server.user().await.project().await;
        let media_server = MediaServer {
            client: Client::with_token(&channel, &token),
        };
        let begun = until_available(|| media_server.begin(&stream_key, "last")).await;
        begun.unwrap();
    }
}

/// A seed that differs from run to run.
fn random_seed() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

impl Actor {
    async fn new(
        server: &TestServer,
        token: &str,
        channels: [Channel; 2],
        accepted: Arc<Accepted>,
    ) -> Arc<Self> {
        let user = server.user().await;
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: Some(prost_types::Duration::default()),
            publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
            ..Default::default()
        };
        let (project, text) = user.project_with(request).await;
        let media_server = |channel| MediaServer {
            client: Client::with_token(channel, token),
        };
        Arc::new(Self {
            media_servers: [media_server(&channels[0]), media_server(&channels[1])],
            user,
            channels,
            project,
            keys: Mutex::new(vec![Key {
                text,
                invalid_from: None,
                was_ended: false,
            }]),
            accepted,
        })
    }

    /// Takes all steps of a plan. A violation is reported with the plan.
    async fn run(self: Arc<Self>, plan: Plan) {
        let shown = format!("{plan:?}");
        let outcome = tokio::try_join!(
            self.rotate_and_publish(plan.rotations, plan.publishes),
            self.expire_api_key(plan.api_key),
            self.sign_out(plan.sign_out),
        );
        if let Err(violation) = outcome {
            panic!("{violation}: {shown}");
        }
    }

    async fn rotate_and_publish(
        &self,
        rotations: Vec<Step<u64>>,
        publishes: Vec<Step<usize>>,
    ) -> Result<(), String> {
        let (rotated, begun) = tokio::join!(self.rotate(rotations), self.publish(publishes));
        rotated?;
        for (key, stream_id) in begun? {
            let key = self.keys.lock()[key].clone();
            let ended = self.user.stream(&stream_id).await.state() == pb::StreamState::Ended;
            if key.was_ended && !ended {
                return Err(format!("a stream continues with the replaced key {key:?}"));
            }
        }
        Ok(())
    }

    async fn rotate(&self, rotations: Vec<Step<u64>>) -> Result<(), String> {
        for Step {
            delay,
            replica,
            action: grace,
        } in rotations
        {
            sleep(Duration::from_millis(delay)).await;
            let token = &self.user.tokens.access_token;
            let client = Client::with_token(&self.channels[replica], token).project;
            let request = pb::RotateStreamKeyRequest {
                project_id: self.project.id.clone(),
                grace: Some(prost_types::Duration {
                    seconds: grace.cast_signed(),
                    nanos: 0,
                }),
                ..Default::default()
            };
            let rotate = || {
                let (mut client, request) = (client.clone(), request.clone());
                async move { client.rotate_stream_key(request).await }
            };
            let rotated = until_available(rotate).await;
            let text = rotated.map_err(|status| format!("{status:?}"))?;
            let acknowledged = Instant::now();
            let mut keys = self.keys.lock();
            // Only the last two keys are ever valid.
            for key in keys.iter_mut() {
                key.invalid_from = Some(acknowledged.min(key.invalid_from.unwrap_or(acknowledged)));
            }
            if let Some(replaced) = keys.last_mut() {
                replaced.was_ended = grace == 0;
                let expiry = Duration::from_secs(grace) + EXPIRY_PRECISION;
                let end = (grace > 0).then(|| acknowledged + expiry);
                replaced.invalid_from = end.or(Some(acknowledged));
            }
            keys.push(Key {
                text: text.into_inner().stream_key,
                invalid_from: None,
                was_ended: false,
            });
        }
        Ok(())
    }

    /// Begins publishes without waiting for the one before; returns the accepted ones.
    async fn publish(&self, publishes: Vec<Step<usize>>) -> Result<Vec<(usize, String)>, String> {
        let mut begins = JoinSet::new();
        for (number, publish) in publishes.into_iter().enumerate() {
            sleep(Duration::from_millis(publish.delay)).await;
            let (index, key) = {
                let keys = self.keys.lock();
                let index = keys.len().saturating_sub(1 + publish.action);
                (index, keys[index].clone())
            };
            let media_server = MediaServer {
                client: self.media_servers[publish.replica].client.clone(),
            };
            let connection = format!("{}-{number}", self.project.id);
            let is_invalid = key.invalid_from.is_some_and(|from| from <= Instant::now());
            begins.spawn(async move {
                let answer = media_server.begin(&key.text, &connection).await;
                match answer {
                    Ok(answer) if is_invalid => {
                        Err(format!("{key:?} was accepted: {:?}", answer.into_inner()))
                    }
                    Ok(answer) => Ok(Some((index, answer.into_inner().stream.unwrap().id))),
                    // A key that was replaced during the call, or a lock that was held for long.
                    Err(_) => Ok(None),
                }
            });
        }
        let begun: Result<Vec<_>, _> = begins.join_all().await.into_iter().collect();
        let begun: Vec<_> = begun?.into_iter().flatten().collect();
        let publishes = &self.accepted.publishes;
        publishes.fetch_add(begun.len(), Ordering::Relaxed);
        Ok(begun)
    }

    /// A new session is ended; five seconds later no replica accepts its token.
    async fn sign_out(&self, step: Step<()>) -> Result<(), String> {
        let request = pb::SignInRequest {
            email: self.user.email.clone(),
            password: self.user.password.to_owned(),
            ..Default::default()
        };
        let auth = Client::anonymous(&self.channels[1 - step.replica]).auth;
        let sign_in = || {
            let (mut auth, request) = (auth.clone(), request.clone());
            async move { auth.sign_in(request).await }
        };
        let signed_in = until_available(sign_in).await;
        let signed_in = signed_in.map_err(|status| format!("{status:?}"))?;
        let token = signed_in.into_inner().tokens.unwrap().access_token;
        sleep(Duration::from_millis(step.delay)).await;
        self.count_if_accepted(&token, step.replica).await;

        let auth = Client::with_token(&self.channels[step.replica], &token).auth;
        let sign_out = || {
            let mut auth = auth.clone();
            async move { auth.sign_out(pb::SignOutRequest::default()).await }
        };
        match until_available(sign_out).await {
            Ok(_) => {}
            // An attempt whose answer was lost has ended it.
            Err(status) if status.code() == Code::Unauthenticated => {}
            Err(status) => return Err(format!("{status:?}")),
        }

        self.assert_refused_after(&token, REVOCATION_TIME, "an ended session")
            .await
    }

    /// An API key expires, and its token with it.
    async fn expire_api_key(&self, step: Step<u64>) -> Result<(), String> {
        let request = expiring_api_key_request(&["projects:read"], step.action);
        let expiry = Duration::from_secs(step.action) + EXPIRY_PRECISION;
        let asked_at = Instant::now();
        let (_, secret) = new_api_key(&self.user, request).await;
        let request = pb::ExchangeApiKeyRequest { secret };
        let mut auth = Client::anonymous(&self.channels[step.replica]).auth;
        let token = match auth.exchange_api_key(request.clone()).await {
            Ok(answer) => answer.into_inner().access_token,
            Err(_) => return Ok(()),
        };

        self.count_if_accepted(&token, step.replica).await;
        let rest = expiry.saturating_sub(asked_at.elapsed());
        self.assert_refused_after(&token, rest, "an expired API key")
            .await?;
        let mut auth = Client::anonymous(&self.channels[1 - step.replica]).auth;
        match auth.exchange_api_key(request).await {
            Ok(_) => Err("an expired API key was exchanged".to_owned()),
            Err(_) => Ok(()),
        }
    }

    /// Calls a replica with a token that has not ended.
    async fn count_if_accepted(&self, token: &str, replica: usize) {
        let mut projects = Client::with_token(&self.channels[replica], token).project;
        let request = pb::ListProjectsRequest::default();
        if projects.list_projects(request).await.is_ok() {
            self.accepted.tokens.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls both replicas after a time; neither may accept the token.
    async fn assert_refused_after(
        &self,
        token: &str,
        time: Duration,
        source: &str,
    ) -> Result<(), String> {
        sleep(time).await;
        for channel in &self.channels {
            let mut projects = Client::with_token(channel, token).project;
            let called: Result<_, Status> = projects
                .list_projects(pb::ListProjectsRequest::default())
                .await;
            let code = called.map_or_else(|status| status.code(), |_| Code::Ok);
            // A replica that has not read the revocations in time refuses all calls.
            if ![Code::Unauthenticated, Code::Unavailable].contains(&code) {
                return Err(format!("the token of {source} gets {code:?}"));
            }
        }
        Ok(())
    }
}

/// Locks that delay the transactions of the replicas at each of their statements.
struct Delays {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Delays {
    async fn start(server: &TestServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut connection = PgConnection::connect(&server.database.url).await.unwrap();
        let is_over = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let locks = [
                "lock table node_boots in access exclusive mode",
                "select id from projects for update",
                "lock table events in share row exclusive mode",
                "lock table publishes in share row exclusive mode",
                "lock table revocations in share row exclusive mode",
                "lock table audit_events in share row exclusive mode",
            ];
            for (number, lock) in locks.iter().cycle().enumerate() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let begin = AssertSqlSafe(format!("begin; {lock}"));
                // Chosen as the victim of a deadlock, it just tries the next one.
                let _ = sqlx::raw_sql(begin).execute(&mut connection).await;
                sleep(Duration::from_millis(number as u64 * 37 % 150)).await;
                let end = sqlx::raw_sql("rollback").execute(&mut connection).await;
                end.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}
