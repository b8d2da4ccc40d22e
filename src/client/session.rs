//! Calls to the server, each with a valid access token.

use std::{cell::RefCell, fs, path::Path, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::Mutex, time::sleep};
use tonic::{
    Code, Request, Response, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig},
};

use super::{
    error::{ClientError, ExitClass, is_unavailable, reason},
    options::{ClientOptions, OutputFormat, parse_server},
    profile::{Profile, ProfileFile},
    secret_input::{can_prompt, prompt},
};
use crate::{
    backoff::Backoff,
    config::ServerAddress,
    domain::Secret,
    proto::v1::{
        self as pb, auth_service_client::AuthServiceClient,
        organization_service_client::OrganizationServiceClient,
        project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
        usage_service_client::UsageServiceClient, webhook_service_client::WebhookServiceClient,
    },
    root_certificates::platform_roots,
};

/// The server of a new profile.
const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time of a call without a response stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The HTTP/2 keepalive: the interval of pings, and the longest time until their answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How often a call is repeated that the server was not available for.
const MAX_RETRIES: u32 = 3;

const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));

/// A token is renewed if less than this is left of it.
const RENEWAL_MARGIN: TimeDelta = TimeDelta::seconds(30);

/// The server, and what the caller shows it.
pub(super) struct Session {
    server: String,
    channel: Channel,
    credentials: Credentials,
    organization: String,
    output: OutputFormat,
    /// Held during a refresh. The lock of the profile is for other processes: waiting for it
    /// would block this one, if it held the lock itself.
    refreshing: Mutex<()>,
}

enum Credentials {
    /// For calls that need no token.
    None,
    /// A user's session.
    Profile(ProfileFile),
    /// An API key, and the access token that it was exchanged for.
    ApiKey(Secret, RefCell<Option<(String, DateTime<Utc>)>>),
}

/// Clients of the services, with the caller's token.
#[derive(Clone)]
pub(super) struct Api {
    pub auth: AuthServiceClient<Authorized>,
    pub project: ProjectServiceClient<Authorized>,
    pub stream: StreamServiceClient<Authorized>,
    pub webhook: WebhookServiceClient<Authorized>,
    pub usage: UsageServiceClient<Authorized>,
    pub organization: OrganizationServiceClient<Authorized>,
}

type Authorized = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
pub(super) struct Bearer(Option<AsciiMetadataValue>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

impl Session {
    /// A session of the API key, or else of the profile.
    pub fn open(options: &ClientOptions) -> Result<Self, ClientError> {
        let file = ProfileFile::named(options.profile())?;
        let (profile, credentials) = match options.api_key() {
            // A key needs no profile, but may use its server.
            Some(key) => (file.read()?, Credentials::ApiKey(key, RefCell::new(None))),
            None => {
                let profile = file.read()?.ok_or_else(|| not_signed_in(&file))?;
                (Some(profile), Credentials::Profile(file))
            }
        };
        let stored = profile.as_ref().map(|profile| profile.server.as_str());
        let stored = parse_server(stored.unwrap_or(DEFAULT_SERVER))?;
        let server = options.server()?.unwrap_or_else(|| stored.clone());
        if matches!(credentials, Credentials::Profile(_)) && server != stored {
            return Err(ClientError::new(
                ExitClass::Denied,
                format!(
                    "the profile {} is signed in to {}, not to {}: run `sluice login`, or use \
                     another --profile (SLUICE_PROFILE)",
                    options.profile(),
                    stored,
                    server
                ),
            ));
        }
        let ca_file = options.ca_file();
        let ca_file = ca_file.or_else(|| profile.and_then(|profile| profile.ca_file));
        Self::new(&server, ca_file.as_deref(), credentials, options)
    }

    /// A session for calls that need no token.
    pub fn anonymous(options: &ClientOptions) -> Result<Self, ClientError> {
        let server = match options.server()? {
            Some(server) => server,
            None => {
                let profile = ProfileFile::named(options.profile())?.read()?;
                let stored = profile.as_ref().map(|profile| profile.server.as_str());
                parse_server(stored.unwrap_or(DEFAULT_SERVER))?
            }
        };
        let ca_file = options.ca_file();
        Self::new(&server, ca_file.as_deref(), Credentials::None, options)
    }

    fn new(
        server: &ServerAddress,
        ca_file: Option<&Path>,
        credentials: Credentials,
        options: &ClientOptions,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            server: server.to_string(),
            channel: connect(server, ca_file)?,
            credentials,
            organization: options.organization(),
            output: options.output(),
            refreshing: Mutex::new(()),
        })
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    /// The organization that is chosen with an option; empty means the personal one.
    pub fn organization(&self) -> String {
        self.organization.clone()
    }

    pub fn output(&self) -> OutputFormat {
        self.output
    }

    /// The file of the profile; `None` with an API key.
    pub fn profile(&self) -> Option<&ProfileFile> {
        match &self.credentials {
            Credentials::Profile(file) => Some(file),
            Credentials::None | Credentials::ApiKey(..) => None,
        }
    }

    /// Calls an RPC that has one effect however often it is called: because it only reads, sets a
    /// state, or has a request id. It is repeated while the server is unavailable.
    pub async fn call<Q: Clone, A>(
        &self,
        message: Q,
        rpc: impl AsyncFn(Api, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, ClientError> {
        self.call_with(MAX_RETRIES, message, rpc).await
    }

    /// Calls an RPC that would have a second effect if it were repeated.
    pub async fn call_once<Q: Clone, A>(
        &self,
        message: Q,
        rpc: impl AsyncFn(Api, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, ClientError> {
        self.call_with(0, message, rpc).await
    }

    async fn call_with<Q: Clone, A>(
        &self,
        retries: u32,
        message: Q,
        rpc: impl AsyncFn(Api, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, ClientError> {
        let (mut failures, mut refused, mut is_recent) = (0, None, false);
        loop {
            let token = self.access_token(refused.as_deref()).await?;
            let mut request = Request::new(message.clone());
            request.set_timeout(CALL_TIMEOUT);
            let status = match rpc(self.api(token.as_deref())?, request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            if is_refused_token(&status) && refused.is_none() && token.is_some() {
                refused = token;
            } else if is_unavailable(&status) && failures < retries {
                failures += 1;
                sleep(RETRY_BACKOFF.delay(failures)).await;
            } else if reason(&status) == "REAUTHENTICATION_REQUIRED" && !is_recent && can_prompt() {
                self.reauthenticate().await?;
                is_recent = true;
            } else {
                return Err(self.error(&status));
            }
        }
    }

    /// Asks for what proves again who the user of the profile is: a code if the account has a second
    /// factor, otherwise the password. Keeps the new access token.
    async fn reauthenticate(&self) -> Result<(), ClientError> {
        let Credentials::Profile(file) = &self.credentials else {
            return Ok(());
        };
        let factors = pb::ListSecondFactorsRequest::default();
        let factors = self.call_authorized(file, factors, async |mut api, request| {
            api.auth.list_second_factors(request).await
        });
        let mut proof = pb::ReauthenticateRequest::default();
        match factors.await?.second_factors.is_empty() {
            true => {
                let password = prompt("Password, to confirm that it is you", "`sluice login`")?;
                proof.password = password.expose().to_owned();
            }
            false => {
                let code = prompt("Code, to confirm that it is you", "`sluice login`")?;
                proof.second_factor_code = code.expose().to_owned();
            }
        }
        let answer = self.call_authorized(file, proof, async |mut api, request| {
            api.auth.reauthenticate(request).await
        });
        let answer = answer.await?;

        let lock = file.lock()?;
        let profile = file.read()?.ok_or_else(|| not_signed_in(file))?;
        let profile = Profile {
            access_token: answer.access_token,
            access_token_expire_time: end_of(answer.access_token_expire_time),
            ..profile
        };
        file.write(&profile, &lock)
    }

    /// Calls an RPC once with the token of the profile.
    async fn call_authorized<Q, A>(
        &self,
        file: &ProfileFile,
        message: Q,
        rpc: impl AsyncFn(Api, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, ClientError> {
        let token = self.profile_token(file, None).await?;
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        let answer = rpc(self.api(Some(&token))?, request).await;
        Ok(answer.map_err(|status| self.error(&status))?.into_inner())
    }

    /// Clients with a valid token, for a call with a response stream. `refused` is a token that
    /// the server no longer accepts.
    pub async fn stream_api(
        &self,
        refused: Option<&str>,
    ) -> Result<(Api, Option<String>), ClientError> {
        let token = self.access_token(refused).await?;
        Ok((self.api(token.as_deref())?, token))
    }

    /// The error of a call.
    pub fn error(&self, status: &Status) -> ClientError {
        ClientError::of_call(status, &self.server)
    }

    /// A valid access token, other than one that was refused. It is refreshed if needed; of
    /// several commands that need that, one does it.
    pub async fn access_token(&self, refused: Option<&str>) -> Result<Option<String>, ClientError> {
        match &self.credentials {
            Credentials::None => Ok(None),
            Credentials::Profile(file) => self.profile_token(file, refused).await.map(Some),
            Credentials::ApiKey(key, cache) => {
                let cached = cache.borrow().clone();
                if let Some((token, end)) = cached
                    && is_usable(&token, end, refused)
                {
                    return Ok(Some(token));
                }
                let token = self.exchange(key).await?;
                *cache.borrow_mut() = Some(token.clone());
                Ok(Some(token.0))
            }
        }
    }

    async fn profile_token(
        &self,
        file: &ProfileFile,
        refused: Option<&str>,
    ) -> Result<String, ClientError> {
        let usable = |profile: Profile| {
            let end = profile.access_token_expire_time;
            let is_usable = is_usable(&profile.access_token, end, refused);
            is_usable.then_some(profile.access_token)
        };
        let read = || file.read()?.ok_or_else(|| not_signed_in(file));
        if let Some(token) = usable(read()?) {
            return Ok(token);
        }

        let _refreshing = self.refreshing.lock().await;
        let lock = file.lock()?;
        let profile = read()?;
        if let Some(token) = usable(profile.clone()) {
            return Ok(token);
        }
        let request = pb::RefreshTokensRequest {
            refresh_token: profile.refresh_token.clone(),
        };
        // If the answer is lost, the same refresh token gets the same answer.
        let answer = self.repeat(request, async |mut api, request| {
            api.auth.refresh_tokens(request).await
        });
        let tokens = answer.await?.tokens.unwrap_or_default();
        let profile = profile.with_tokens(tokens);
        file.write(&profile, &lock)?;
        Ok(profile.access_token)
    }

    async fn exchange(&self, key: &Secret) -> Result<(String, DateTime<Utc>), ClientError> {
        let request = pb::ExchangeApiKeyRequest {
            secret: key.expose().to_owned(),
        };
        let answer = self.repeat(request, async |mut api, request| {
            api.auth.exchange_api_key(request).await
        });
        let answer = answer.await?;
        let end = end_of(answer.access_token_expire_time);
        Ok((answer.access_token, end))
    }

    /// Calls an RPC without a token; repeats it while the server is unavailable.
    async fn repeat<Q: Clone, A>(
        &self,
        message: Q,
        rpc: impl AsyncFn(Api, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, ClientError> {
        let mut failures = 0;
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(CALL_TIMEOUT);
            match rpc(self.api(None)?, request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if is_unavailable(&status) && failures < MAX_RETRIES => {
                    failures += 1;
                    sleep(RETRY_BACKOFF.delay(failures)).await;
                }
                Err(status) => return Err(self.error(&status)),
            }
        }
    }

    fn api(&self, token: Option<&str>) -> Result<Api, ClientError> {
        let bearer = Bearer(token.map(bearer).transpose()?);
        let channel = || self.channel.clone();
        Ok(Api {
            auth: AuthServiceClient::with_interceptor(channel(), bearer.clone()),
            project: ProjectServiceClient::with_interceptor(channel(), bearer.clone()),
            stream: StreamServiceClient::with_interceptor(channel(), bearer.clone()),
            webhook: WebhookServiceClient::with_interceptor(channel(), bearer.clone()),
            usage: UsageServiceClient::with_interceptor(channel(), bearer.clone()),
            organization: OrganizationServiceClient::with_interceptor(channel(), bearer),
        })
    }
}

impl Profile {
    /// A profile of these tokens.
    pub fn new(server: &str, ca_file: Option<&Path>, email: &str, tokens: pb::Tokens) -> Self {
        let profile = Self {
            server: server.to_owned(),
            // Commands may run in any folder.
            ca_file: ca_file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.into())),
            email: email.to_owned(),
            access_token: String::new(),
            access_token_expire_time: DateTime::UNIX_EPOCH,
            refresh_token: String::new(),
        };
        profile.with_tokens(tokens)
    }

    /// The profile after a refresh.
    fn with_tokens(self, tokens: pb::Tokens) -> Self {
        Self {
            access_token: tokens.access_token,
            access_token_expire_time: end_of(tokens.access_token_expire_time),
            refresh_token: tokens.refresh_token,
            ..self
        }
    }
}

/// A new `request_id`: with it, a repeated call has no second effect.
pub(super) fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Whether an error says that the access token is no longer accepted.
pub(super) fn is_refused_token(status: &Status) -> bool {
    status.code() == Code::Unauthenticated && reason(status).starts_with("ACCESS_TOKEN_")
}

fn bearer(token: &str) -> Result<AsciiMetadataValue, ClientError> {
    let bearer = format!("Bearer {token}").parse();
    let mut bearer: AsciiMetadataValue = bearer.map_err(|_| {
        ClientError::new(ExitClass::Denied, "the access token is not a header value")
    })?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

fn is_usable(token: &str, end: DateTime<Utc>, refused: Option<&str>) -> bool {
    Some(token) != refused && Utc::now() + RENEWAL_MARGIN < end
}

fn end_of(time: Option<prost_types::Timestamp>) -> DateTime<Utc> {
    let time = time.unwrap_or_default();
    let nanos = u32::try_from(time.nanos).unwrap_or_default();
    DateTime::from_timestamp(time.seconds, nanos).unwrap_or_default()
}

fn not_signed_in(file: &ProfileFile) -> ClientError {
    let name = file.name();
    let profile = match name {
        "default" => String::new(),
        _ => format!(" --profile {name}"),
    };
    ClientError::new(
        ExitClass::Denied,
        format!("not signed in: run `sluice login{profile}`, or set SLUICE_API_KEY (--api-key)"),
    )
}

fn connect(server: &ServerAddress, ca_file: Option<&Path>) -> Result<Channel, ClientError> {
    let endpoint = server.endpoint();
    let mut endpoint = endpoint
        .map_err(|error| ClientError::usage(error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_INTERVAL)
        .tcp_nodelay(true)
        .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| ClientError::usage(error.to_string()))?;
    if server.has_tls() {
        let tls = ClientTlsConfig::new();
        let tls = match ca_file {
            Some(file) => {
                let pem = fs::read(file).map_err(|error| {
                    let file = file.display();
                    ClientError::usage(format!(
                        "cannot read {file} (--ca-file, SLUICE_CA_FILE): {error}"
                    ))
                })?;
                tls.ca_certificate(Certificate::from_pem(pem))
            }
            None => {
                let roots = platform_roots()
                    .map_err(|error| ClientError::new(ExitClass::Failure, format!("{error:#}")))?;
                tls.trust_anchors(roots.roots.clone())
            }
        };
        endpoint = endpoint.tls_config(tls).map_err(|error| {
            ClientError::usage(format!("--ca-file (SLUICE_CA_FILE) is not usable: {error}"))
        })?;
    }
    Ok(endpoint.connect_lazy())
}
