use std::{fs, path::PathBuf, sync::Arc, time::SystemTime};

use anyhow::Context;
use tokio::sync::Mutex;
use tonic::{Status, metadata::AsciiMetadataValue, transport::Channel};

use crate::{
    domain::Secret,
    proto::v1::{ExchangeApiKeyRequest, auth_service_client::AuthServiceClient},
};

/// An API key, and the access token that it was last exchanged for.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    key: ApiKey,
    token: Arc<Mutex<Option<Token>>>,
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
        let token = Arc::default();
        Self { key, token }
    }

    /// A token for a call: renewed when half of its time is over.
    pub(super) async fn bearer(&self, channel: &Channel) -> Result<AsciiMetadataValue, Status> {
        let mut held = self.token.lock().await;
        match &*held {
            Some(token) if SystemTime::now() < token.renewal => Ok(token.bearer.clone()),
            before => match self.exchange(channel).await {
                Ok(token) => Ok(held.insert(token).bearer.clone()),
                // The one before is good for the other half of its time.
                Err(status) => match before {
                    Some(token) if status.code() == tonic::Code::Unavailable => {
                        Ok(token.bearer.clone())
                    }
                    _ => Err(status),
                },
            },
        }
    }

    /// Forgets a token that was refused.
    pub(super) async fn refused(&self, bearer: &AsciiMetadataValue) {
        let mut held = self.token.lock().await;
        if held.as_ref().is_some_and(|token| token.bearer == *bearer) {
            *held = None;
        }
    }

    async fn exchange(&self, channel: &Channel) -> Result<Token, Status> {
        let key = self.key.read().map_err(|fault| {
            tracing::error!(error = format!("{fault:#}"), "cannot read the API key");
            Status::unauthenticated("the API key cannot be read")
        })?;
        let request = ExchangeApiKeyRequest {
            secret: key.expose().to_owned(),
        };
        let answer = AuthServiceClient::new(channel.clone())
            .exchange_api_key(super::control::within(super::control::CALL, request))
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
