use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use sluice::proto::v1 as pb;
use tokio::time::{Instant, timeout};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::counts::Counts;
use crate::harness::{
    Client, Cluster, Process, Refusal, Replicas, TestDatabase, eventually_within, refused,
};

/// Time limit of one try of a call.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long kills interrupt a call again and again.
const MAX_INTERRUPTION: Duration = Duration::from_secs(10);

/// The failures of calls that a workload expects.
#[derive(Clone, Copy)]
pub struct Interruptions {
    /// Whether a status is expected; its call is repeated.
    pub includes: fn(&Status) -> bool,
    /// How long a call may be interrupted again and again.
    pub longest: Duration,
}

impl Interruptions {
    /// Those of killed programs.
    pub const KILLS: Self = Self {
        includes: is_caused_by_kill,
        longest: Duration::from_secs(40),
    };
}

/// The password of all accounts.
pub const PASSWORD: &str = "correct horse battery";

/// Calls the programs of a cluster in turn, and repeats calls that a kill interrupts.
#[derive(Clone)]
pub struct Caller {
    replicas: Replicas,
    access_token: Option<String>,
    tries: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    interruptions: Interruptions,
}

/// The callers of a workload.
pub struct Callers {
    pub anonymous: Caller,
    /// The owner of projects.
    pub owner: Caller,
    /// Media servers and relay workers.
    pub operator: Caller,
    /// Has the scopes `operator:read` and `operator:write`.
    pub administrator: Caller,
}

/// The result of a call.
struct Attempt<A> {
    result: Result<A, Status>,
    /// Whether a kill interrupted an earlier try, which may have been executed.
    is_repeated: bool,
}

impl Callers {
    /// Creates an account and two operator keys.
    pub async fn sign_in(cluster: &Cluster, counts: Arc<Counts>) -> Self {
        let replicas = cluster.replicas.clone();
        let interruptions = Interruptions::KILLS;
        Self::sign_in_to(&cluster.database, replicas, counts, interruptions).await
    }

    /// The same for programs that are not killed, with the failures of calls that are expected.
    pub async fn sign_in_to(
        database: &TestDatabase,
        replicas: Replicas,
        counts: Arc<Counts>,
        interruptions: Interruptions,
    ) -> Self {
        let anonymous = Caller {
            replicas,
            access_token: None,
            tries: Arc::default(),
            counts,
            interruptions,
        };
        let (_, tokens) = anonymous.sign_up("ada@example.com").await;
        let scopes = ["streams:publish", "relays:work"];
        let secret = Process::create_operator_key_with(database, &scopes).await;
        let operator_token = anonymous.exchange_api_key(&secret).await.access_token;
        // The last one that can be created at the database.
        let scopes = ["operator:read", "operator:write"];
        let secret = Process::create_operator_key_with(database, &scopes).await;
        let administrator_token = anonymous.exchange_api_key(&secret).await.access_token;
        Self {
            administrator: anonymous.with_token(&administrator_token),
            owner: anonymous.with_token(&tokens.access_token),
            operator: anonymous.with_token(&operator_token),
            anonymous,
        }
    }
}

impl Caller {
    /// The same programs with another access token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            access_token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The access token.
    pub fn access_token(&self) -> &str {
        self.access_token.as_deref().expect("it has one")
    }

    /// A client of the next program.
    pub fn client(&self) -> Client {
        let channel = self.replicas.channel(self.tries.fetch_add(1, Relaxed));
        match &self.access_token {
            Some(token) => Client::with_token(&channel, token),
            None => Client::anonymous(&channel),
        }
    }

    /// Whether a status is an expected failure, after which the call is repeated.
    pub fn is_interrupted_by(&self, status: &Status) -> bool {
        (self.interruptions.includes)(status)
    }

    /// Repeats a call until a program answers it.
    async fn attempt<A>(
        &self,
        rpc: &'static str,
        mut call: impl AsyncFnMut(Client) -> Result<Response<A>, Status>,
    ) -> Attempt<A> {
        let mut tries = 0;
        let begun = Instant::now();
        let mut starving = None;
        let result = eventually_within(self.interruptions.longest, rpc, async || {
            tries += 1;
            if begun.elapsed() > MAX_INTERRUPTION {
                starving.get_or_insert_with(|| self.counts.starve());
            }
            match timeout(TRY_TIMEOUT, call(self.client())).await {
                Ok(Err(status)) if self.is_interrupted_by(&status) => None,
                Ok(result) => Some(result.map(Response::into_inner)),
                Err(_) => None,
            }
        })
        .await;
        Attempt {
            result,
            is_repeated: tries > 1,
        }
    }

    /// The response of a read, which must be accepted.
    pub async fn read<A>(
        &self,
        rpc: &'static str,
        call: impl AsyncFnMut(Client) -> Result<Response<A>, Status>,
    ) -> A {
        let result = self.attempt(rpc, call).await.result;
        result.unwrap_or_else(|status| panic!("{rpc}: {status:?}"))
    }

    /// The response of a write, which must be accepted. The write can be repeated.
    pub async fn write<A>(
        &self,
        rpc: &'static str,
        call: impl AsyncFnMut(Client) -> Result<Response<A>, Status>,
    ) -> A {
        let attempt = self.attempt(rpc, call).await;
        let answer = attempt.result;
        let answer = answer.unwrap_or_else(|status| panic!("{rpc}: {status:?}"));
        self.counts.add(rpc, attempt.is_repeated);
        answer
    }

    /// Makes a write that is refused with one of these reasons once it has been executed. That is
    /// accepted only after an interrupted try.
    pub async fn write_once<A: Debug>(
        &self,
        rpc: &'static str,
        executed: &[&str],
        call: impl AsyncFnMut(Client) -> Result<Response<A>, Status>,
    ) {
        let attempt = self.attempt(rpc, call).await;
        if let Err(status) = attempt.result {
            assert!(attempt.is_repeated, "{rpc}: {status:?}");
            let refusal = refused(Err::<Response<A>, _>(status));
            let reason = &*refusal.reason;
            assert!(executed.contains(&reason), "{rpc}: {refusal:?}");
        }
        self.counts.add(rpc, attempt.is_repeated);
    }

    /// The error of a call, which must be refused.
    pub async fn refusal<A: Debug>(
        &self,
        rpc: &'static str,
        call: impl AsyncFnMut(Client) -> Result<Response<A>, Status>,
    ) -> Refusal {
        let result = self.attempt(rpc, call).await.result;
        refused(result.map(Response::new))
    }

    /// Checks that the access token is refused: its session or API key has ended.
    pub async fn assert_token_is_refused(&self) {
        let request = pb::ListProjectsRequest::default();
        let refusal = self
            .refusal("ListProjects", async |mut client| {
                client.project.list_projects(request.clone()).await
            })
            .await;
        let expected = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
        assert_eq!(refusal.class(), expected);
    }

    /// SignUp with [`PASSWORD`].
    pub async fn sign_up(&self, email: &str) -> (pb::User, pb::Tokens) {
        let request = pb::SignUpRequest {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            display_name: "Ada".to_owned(),
            request_id: Uuid::now_v7().to_string(),
        };
        let answer = self
            .write("SignUp", async |mut client| {
                client.auth.sign_up(request.clone()).await
            })
            .await;
        (answer.user.unwrap(), answer.tokens.unwrap())
    }

    /// SignIn.
    pub async fn sign_in(&self, email: &str, password: &str) -> (pb::User, pb::Tokens) {
        let answer = self
            .write("SignIn", async |mut client| {
                client.auth.sign_in(sign_in_request(email, password)).await
            })
            .await;
        (answer.user.unwrap(), answer.tokens.unwrap())
    }

    /// Checks that e-mail address and password do not match.
    pub async fn assert_sign_in_is_refused(&self, email: &str, password: &str) {
        let refusal = self
            .refusal("SignIn", async |mut client| {
                client.auth.sign_in(sign_in_request(email, password)).await
            })
            .await;
        let expected = (Code::Unauthenticated, "CREDENTIALS_INVALID");
        assert_eq!(refusal.class(), expected, "{email}");
    }

    /// ExchangeApiKey.
    pub async fn exchange_api_key(&self, secret: &str) -> pb::ExchangeApiKeyResponse {
        let request = pb::ExchangeApiKeyRequest {
            secret: secret.to_owned(),
        };
        self.write("ExchangeApiKey", async |mut client| {
            client.auth.exchange_api_key(request.clone()).await
        })
        .await
    }

    /// CreateProject without a reconnect window.
    pub async fn create_project(&self, name: &str) -> pb::CreateProjectResponse {
        self.create_project_as(&project_request(name)).await
    }

    /// CreateProject with this request.
    pub async fn create_project_as(
        &self,
        request: &pb::CreateProjectRequest,
    ) -> pb::CreateProjectResponse {
        self.write("CreateProject", async |mut client| {
            client.project.create_project(request.clone()).await
        })
        .await
    }

    /// BeginPublish of a connection of node `n1`.
    pub async fn begin_publish(&self, request: &pb::BeginPublishRequest) -> pb::Stream {
        let answer = self
            .write("BeginPublish", async |mut client| {
                client.stream.begin_publish(request.clone()).await
            })
            .await;
        answer.stream.unwrap()
    }

    /// HeartbeatPublish, which makes the stream live.
    pub async fn heartbeat(&self, stream: &pb::Stream) {
        let request = pb::HeartbeatPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: stream.publisher.clone(),
            stats: None,
        };
        let answer = self
            .write("HeartbeatPublish", async |mut client| {
                client.stream.heartbeat_publish(request.clone()).await
            })
            .await;
        assert_eq!(answer.action(), pb::PublishAction::Continue);
        assert_eq!(answer.stream.unwrap().state(), pb::StreamState::Live);
    }

    /// GetStream.
    pub async fn stream(&self, stream_id: &str) -> pb::Stream {
        let request = pb::GetStreamRequest {
            stream_id: stream_id.to_owned(),
        };
        let answer = self
            .read("GetStream", async |mut client| {
                client.stream.get_stream(request.clone()).await
            })
            .await;
        answer.stream.unwrap()
    }
}

/// A CreateProject request without a reconnect window.
pub fn project_request(name: &str) -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: name.to_owned(),
        reconnect_window: Some(prost_types::Duration::default()),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}

fn sign_in_request(email: &str, password: &str) -> pb::SignInRequest {
    pb::SignInRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    }
}

/// Whether a status can be caused by a killed program.
fn is_caused_by_kill(status: &Status) -> bool {
    let without_details = [Code::Unknown, Code::Cancelled, Code::Internal];
    // An attempt to sign in counts as failed until it has succeeded.
    let reason = status.get_details_error_info().map(|info| info.reason);
    reason.as_deref() == Some("TOO_MANY_ATTEMPTS")
        || [Code::Unavailable, Code::Aborted].contains(&status.code())
        || without_details.contains(&status.code()) && status.details().is_empty()
}
