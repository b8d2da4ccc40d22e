use std::{collections::HashMap, sync::Arc};

use super::{
    claims::IdClaims,
    jws::{Jws, RejectReason},
    key_cache::KeyCache,
    provider::IdTokenProvider,
};
use crate::{
    domain::{Identity, Invalid, Secret, Time},
    error::{Error, Result},
};

/// The verifiers of all accepted issuers, by provider name. A clone shares their keys.
#[derive(Debug, Clone)]
pub struct IdTokens {
    verifiers: Arc<HashMap<String, IdTokenVerifier>>,
}

/// Verifies the id tokens of one issuer.
#[derive(Debug, Clone)]
pub struct IdTokenVerifier {
    provider: Arc<IdTokenProvider>,
    keys: Arc<KeyCache>,
}

impl IdTokens {
    /// Accepts the id tokens of these issuers. Nothing is fetched yet.
    pub fn new(providers: Vec<IdTokenProvider>) -> Self {
        let verifiers = providers.into_iter().map(|provider| {
            let keys = KeyCache::new(provider.issuer.clone());
            let verifier = IdTokenVerifier {
                provider: Arc::new(provider),
                keys: Arc::new(keys),
            };
            (verifier.provider.name.clone(), verifier)
        });
        Self {
            verifiers: Arc::new(verifiers.collect()),
        }
    }

    /// The verifier of the provider with this name.
    pub fn verifier(&self, name: &str) -> Result<IdTokenVerifier, Invalid> {
        match self.verifiers.get(name) {
            Some(verifier) => Ok(verifier.clone()),
            None if name.is_empty() => Err(Invalid::because("must not be empty")),
            None => Err(Invalid::because(
                "must be an issuer of this server's settings",
            )),
        }
    }
}

impl IdTokenVerifier {
    /// The identity that a valid id token names. `nonce` is that of the authentication
    /// request to the issuer, or empty.
    pub async fn verify(&self, token: &Secret, nonce: &Secret, now: Time) -> Result<Identity> {
        let jws = Jws::parse(token.expose()).map_err(|reason| self.refuse(reason))?;
        let keys = self.keys.for_key(jws.kid.as_deref(), now).await?;

        let identity = keys
            .verify(&jws)
            .and_then(|()| IdClaims::parse(&jws.payload))
            .and_then(|claims| claims.check(&self.provider, nonce.expose(), now));
        identity.map_err(|reason| self.refuse(reason))
    }

    /// The same error for every reason, so that a forger learns nothing.
    fn refuse(&self, reason: RejectReason) -> Error {
        let provider = &self.provider.name;
        tracing::debug!(provider, reason, "an id token is refused");
        Error::IdTokenInvalid
    }
}
