use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use tokio::{sync::Mutex, time::timeout};
use tonic::{Code, Request, Response, Status, metadata::AsciiMetadataValue, transport::Channel};

use crate::{
    backoff::Backoff,
    domain::Secret,
    proto::v1::{
        ExchangeApiKeyRequest, ExchangeApiKeyResponse, auth_service_client::AuthServiceClient,
    },
    telemetry::metrics::EDGE,
};

/// The longest time that an exchange may take. A hook waits for it, and media servers
/// wait for hooks for 10 seconds and more.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time that a renewal may take while the token before is still valid.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(2);

const RENEWAL_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The time for which a refusal of the key is remembered.
const REFUSAL_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// An API key, and the access token from its last exchange.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    key: ApiKey,
    cache: Arc<Mutex<TokenCache>>,
}

/// The results of the last exchanges.
#[derive(Debug, Default)]
struct TokenCache {
    token: Option<Token>,
    /// How often in a row the key was refused.
    refusals: u32,
    /// The last refusal, and until when it is remembered.
    refusal: Option<(Status, Instant)>,
}

/// The source of an API key.
#[derive(Debug, Clone)]
pub enum ApiKey {
    /// In the settings.
    Text(Secret),
    /// In a file, which is read at each exchange.
    File(PathBuf),
}

/// An access token. It is marked as sensitive, so that `Debug` does not show it.
#[derive(Debug, Clone)]
struct Token {
    bearer: AsciiMetadataValue,
    renew_at: Instant,
}

impl Credentials {
    /// Credentials that are exchanged at first use.
    pub(super) fn new(key: ApiKey) -> Self {
        let cache = Arc::default();
        Self { key, cache }
    }

    /// A token for a call, renewed after half of its lifetime. A refusal of the key is
    /// remembered for 1 second, and twice as long after each further one, up to 30 seconds.
    pub(super) async fn bearer(&self, channel: &Channel) -> Result<AsciiMetadataValue, Status> {
        let mut cache = self.cache.lock().await;
        if let Some(token) = &mut cache.token {
            if Instant::now() >= token.renew_at {
                // The token is valid for the other half of its lifetime, so that calls do not
                // wait long for a renewal, and a failed one is repeated later.
                token.renew_at = Instant::now() + RENEWAL_RETRY_DELAY;
                if let Ok(Ok(renewed)) = timeout(RENEWAL_TIMEOUT, self.exchange(channel)).await {
                    *token = renewed;
                }
            }
            return Ok(token.bearer.clone());
        }
        if let Some((status, until)) = &cache.refusal
            && Instant::now() < *until
        {
            return Err(status.clone());
        }
        match self.exchange(channel).await {
            Ok(token) => {
                (cache.refusals, cache.refusal) = (0, None);
                Ok(cache.token.insert(token).bearer.clone())
            }
            Err(status) => {
                if status.code() == Code::Unauthenticated {
                    cache.refusals += 1;
                    let until = Instant::now() + REFUSAL_BACKOFF.ceiling(cache.refusals);
                    cache.refusal = Some((status.clone(), until));
                }
                Err(status)
            }
        }
    }

    pub(super) async fn discard(&self, bearer: &AsciiMetadataValue) {
        let mut cache = self.cache.lock().await;
        cache.token.take_if(|token| token.bearer == *bearer);
    }

    /// Exchanges the key for a token that is not kept. Returns its scopes.
    pub(super) async fn exchange_scopes(&self, channel: &Channel) -> Result<Vec<String>, Status> {
        Ok(self.call_exchange(channel).await?.scopes)
    }

    async fn call_exchange(&self, channel: &Channel) -> Result<ExchangeApiKeyResponse, Status> {
        let key = self.key.read().map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "cannot read the API key");
            Status::unauthenticated("the API key cannot be read")
        })?;
        let mut request = Request::new(ExchangeApiKeyRequest {
            secret: key.expose().to_owned(),
        });
        request.set_timeout(EXCHANGE_TIMEOUT);
        let mut client = AuthServiceClient::new(channel.clone());
        let asked_at = Instant::now();
        let answer = client.exchange_api_key(request).await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        EDGE.call("ExchangeApiKey", code, asked_at.elapsed());
        answer.map(Response::into_inner)
    }

    async fn exchange(&self, channel: &Channel) -> Result<Token, Status> {
        let asked_at = Instant::now();
        let answer = self.call_exchange(channel).await?;
        let lifetime = token_lifetime(&answer);
        let mut bearer: AsciiMetadataValue = format!("Bearer {}", answer.access_token)
            .parse()
            .map_err(|_| Status::internal("the access token is not a valid header value"))?;
        bearer.set_sensitive(true);
        let renew_at = asked_at + lifetime / 2;
        Ok(Token { bearer, renew_at })
    }
}

/// The lifetime of a new token. A control plane of an earlier version sends only the end,
/// which holds if its clock and that of this machine agree.
fn token_lifetime(answer: &ExchangeApiKeyResponse) -> Duration {
    let until = |time: SystemTime| time.duration_since(SystemTime::now()).ok();
    let lifetime = match (
        answer.access_token_lifetime,
        answer.access_token_expire_time,
    ) {
        (Some(lifetime), _) => lifetime.try_into().ok(),
        (None, Some(end)) => end.try_into().ok().and_then(until),
        (None, None) => None,
    };
    lifetime.unwrap_or_default()
}

impl ApiKey {
    fn read(&self) -> anyhow::Result<Secret> {
        match self {
            Self::Text(key) => Ok(key.clone()),
            Self::File(path) => {
                let text = fs::read_to_string(path);
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                Ok(Secret::trimmed(&text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn the_lifetime_of_a_token_does_not_depend_on_the_clock_of_the_control_plane() {
        let minute = Duration::from_secs(60);
        for seconds in [0, i64::from(u32::MAX)] {
            let answer = ExchangeApiKeyResponse {
                access_token_expire_time: Some(Timestamp { seconds, nanos: 0 }),
                access_token_lifetime: Some(minute.try_into().unwrap()),
                ..Default::default()
            };
            assert_eq!(token_lifetime(&answer), minute);
        }
    }
}
