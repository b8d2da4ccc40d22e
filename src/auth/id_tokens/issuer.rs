use std::{collections::HashMap, sync::Arc};

use super::{
    claims::IdClaims,
    jws::{Fault, Jws},
    key_cache::KeyCache,
    provider::IdTokenProvider,
    web::Web,
};
use crate::{
    domain::{Identity, Invalid, Secret, Time},
    error::{Error, Result},
};

/// The issuers whose id tokens are accepted. A clone shares their keys.
#[derive(Debug, Clone)]
pub struct IdTokens {
    issuers: Arc<HashMap<String, IdTokenIssuer>>,
}

/// One issuer with its keys.
#[derive(Debug, Clone)]
pub struct IdTokenIssuer {
    provider: Arc<IdTokenProvider>,
    keys: Arc<KeyCache>,
}

impl IdTokens {
    /// Accepts the id tokens of these issuers; asks them nothing yet.
    pub fn new(providers: Vec<IdTokenProvider>) -> Self {
        let web = Web::new();
        let issuers = providers.into_iter().map(|provider| {
            let keys = KeyCache::new(provider.issuer.clone(), web.clone());
            let issuer = IdTokenIssuer {
                provider: Arc::new(provider),
                keys: Arc::new(keys),
            };
            (issuer.provider.name.clone(), issuer)
        });
        Self {
            issuers: Arc::new(issuers.collect()),
        }
    }

    /// The issuer that callers call that.
    pub fn issuer(&self, name: &str) -> Result<IdTokenIssuer, Invalid> {
        match self.issuers.get(name) {
            Some(issuer) => Ok(issuer.clone()),
            None if name.is_empty() => Err(Invalid::because("must not be empty")),
            None => Err(Invalid::because(
                "must be an issuer of this server's settings",
            )),
        }
    }
}

impl IdTokenIssuer {
    /// Whom an id token is about. The nonce is that of the sign-in at the
    /// issuer, empty if it had none.
    pub async fn verify(&self, token: &Secret, nonce: &Secret, now: Time) -> Result<Identity> {
        let jws = Jws::parse(token.expose()).map_err(|fault| self.refuse(fault))?;
        let keys = self.keys.for_key(jws.kid.as_deref(), now).await?;

        let identity = keys
            .verify(&jws)
            .and_then(|()| IdClaims::parse(&jws.payload))
            .and_then(|claims| claims.check(&self.provider, nonce.expose(), now));
        identity.map_err(|fault| self.refuse(fault))
    }

    /// One answer whatever is wrong: a forger learns nothing from it.
    fn refuse(&self, fault: Fault) -> Error {
        tracing::debug!(
            provider = self.provider.name,
            fault,
            "an id token is refused"
        );
        Error::IdTokenInvalid
    }
}
