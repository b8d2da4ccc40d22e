use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use tokio::{sync::Mutex, time::timeout};
use tonic::{Code, Request, Status, metadata::AsciiMetadataValue, transport::Channel};

use crate::{
    domain::Secret,
    proto::v1::{ExchangeApiKeyRequest, auth_service_client::AuthServiceClient},
};

/// How long a call may take. A hook waits for it, and media servers wait for hooks for
/// 10 seconds and more.
pub(super) const CALL: Duration = Duration::from_secs(5);

/// How long a new token may take while there is an older one, and how soon after that it
/// is asked for again.
const RENEWAL: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(5);

/// For how long a refusal of the key stands: the first one, and any.
const REFUSED: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// An API key, and the access token that it was last exchanged for.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    key: ApiKey,
    held: Arc<Mutex<Held>>,
}

/// What the last exchanges gave.
#[derive(Debug, Default)]
struct Held {
    token: Option<Token>,
    /// How often the key was refused in a row, the last answer, and until when it stands.
    refusals: u32,
    refusal: Option<(Status, Instant)>,
}

/// Where an API key is.
#[derive(Debug, Clone)]
pub enum ApiKey {
    /// In the settings.
    Text(Secret),
    /// In a file, which is read whenever the key is needed.
    File(PathBuf),
}

/// An access token.
#[derive(Clone)]
struct Token {
    bearer: AsciiMetadataValue,
    renewal: SystemTime,
}

impl Credentials {
    /// Nothing is exchanged until a token is needed.
    pub(super) fn new(key: ApiKey) -> Self {
        let held = Arc::default();
        Self { key, held }
    }

    /// A token for a call: renewed when half of its time is over. After a refused key
    /// the answer is the same for a while, longer each time, up to 30 seconds.
    pub(super) async fn bearer(&self, channel: &Channel) -> Result<AsciiMetadataValue, Status> {
        let mut held = self.held.lock().await;
        match &held.token {
            Some(token) if SystemTime::now() < token.renewal => Ok(token.bearer.clone()),
            Some(token) => {
                let bearer = token.bearer.clone();
                Ok(self.renew(&mut held, channel).await.unwrap_or(bearer))
            }
            None => {
                held.is_open(Instant::now())?;
                let exchanged = self.exchange(channel).await;
                held.take(exchanged, Instant::now())
            }
        }
    }

    /// The token before is good for the other half of its time: who calls does not wait
    /// long for a new one, and a control plane that has none is asked again later.
    async fn renew(&self, held: &mut Held, channel: &Channel) -> Option<AsciiMetadataValue> {
        if let Some(token) = &mut held.token {
            token.renewal = SystemTime::now() + AGAIN;
        }
        let renewed = timeout(RENEWAL, self.exchange(channel)).await.ok()?.ok()?;
        Some(held.token.insert(renewed).bearer.clone())
    }

    /// Forgets a token that was refused.
    pub(super) async fn refused(&self, bearer: &AsciiMetadataValue) {
        let mut held = self.held.lock().await;
        let token = &mut held.token;
        token.take_if(|token| token.bearer == *bearer);
    }

    async fn exchange(&self, channel: &Channel) -> Result<Token, Status> {
        let key = self.key.read().map_err(|fault| {
            tracing::error!(error = format!("{fault:#}"), "cannot use the API key");
            Status::unauthenticated("there is no API key to be used")
        })?;
        let request = ExchangeApiKeyRequest {
            secret: key.expose().to_owned(),
        };
        let answer = AuthServiceClient::new(channel.clone())
            .exchange_api_key(within(CALL, request))
            .await?
            .into_inner();

        let now = SystemTime::now();
        let expiry = answer.access_token_expire_time.unwrap_or_default();
        let expiry = SystemTime::try_from(expiry).unwrap_or(now);
        let left = expiry.duration_since(now).unwrap_or_default();
        let mut bearer: AsciiMetadataValue = format!("Bearer {}", answer.access_token)
            .parse()
            .map_err(|_| Status::internal("the access token is no text of a header"))?;
        bearer.set_sensitive(true);
        let renewal = now + left / 2;
        Ok(Token { bearer, renewal })
    }
}

/// A request that must be answered in time.
pub(super) fn within<Q>(limit: Duration, message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

impl Held {
    fn is_open(&self, now: Instant) -> Result<(), Status> {
        match &self.refusal {
            Some((status, until)) if now < *until => Err(status.clone()),
            _ => Ok(()),
        }
    }

    fn take(
        &mut self,
        exchanged: Result<Token, Status>,
        now: Instant,
    ) -> Result<AsciiMetadataValue, Status> {
        match exchanged {
            Ok(token) => {
                (self.refusals, self.refusal) = (0, None);
                Ok(self.token.insert(token).bearer.clone())
            }
            Err(status) => {
                if status.code() == Code::Unauthenticated {
                    let pause = REFUSED * 2_u32.pow(self.refusals.min(5));
                    self.refusals += 1;
                    self.refusal = Some((status.clone(), now + pause.min(LONGEST)));
                }
                Err(status)
            }
        }
    }
}

impl ApiKey {
    fn read(&self) -> anyhow::Result<Secret> {
        match self {
            Self::Text(key) => Ok(key.clone()),
            Self::File(path) => {
                let text = fs::read_to_string(path);
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                Ok(Secret::new(text.trim()))
            }
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("renewal", &self.renewal)
            .finish_non_exhaustive()
    }
}
