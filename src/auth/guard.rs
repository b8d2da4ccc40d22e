use std::sync::Arc;

use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};
use tracing::Span;

use super::{Access, AccessTokens, Caller, Permit, RateLimits, Revocations};
use crate::{
    domain::{PeerAddress, Time},
    error::{Error, Result},
};

/// The interceptor before all services: lets a call through if the caller has
/// what the RPC needs, and does not call too often.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Terms>);

/// What it goes by: shared, because services and what is before them are cloned for
/// each call.
#[derive(Debug)]
struct Terms {
    tokens: AccessTokens,
    revocations: Revocations,
    limits: RateLimits,
}

impl Guard {
    /// A guard that accepts these tokens, but for those that were revoked, as
    /// often as the limits allow.
    pub fn new(tokens: AccessTokens, revocations: Revocations, limits: RateLimits) -> Self {
        Self(Arc::new(Terms {
            tokens,
            revocations,
            limits,
        }))
    }
}

impl Terms {
    fn admit(&self, request: &Request<()>) -> Result<Option<Permit>> {
        if !self.revocations.are_current() {
            return Err(Error::OutOfDate);
        }
        // An RPC that is missing in the table gets no caller, so its handler refuses.
        let access = request.extensions().get::<Access>().copied();
        let peer = request.extensions().get::<PeerAddress>().copied();
        let access = match access {
            None | Some(Access::Public) => return self.limits.count_address(peer).map(|()| None),
            Some(access) => access,
        };

        let (caller, expire_time) = self.identify(request.metadata()).or_else(|refusal| {
            self.limits.count_address(peer)?;
            Err(refusal)
        })?;
        self.limits.count_caller(&caller)?;
        Span::current().record("caller", tracing::field::display(&caller));
        match access {
            Access::Session => drop(caller.session()?),
            Access::Scopes(scopes) => {
                let missing = scopes.iter().find(|scope| !caller.scopes.contains(**scope));
                if let Some(missing) = missing {
                    return Err(Error::ScopeMissing(*missing));
                }
            }
            Access::Public => {}
        }
        let permit = Permit::new(caller, expire_time, self.revocations.clone());
        Ok(Some(permit))
    }

    /// Who calls, by a token that is valid, and until when it is.
    fn identify(&self, metadata: &MetadataMap) -> Result<(Caller, Time)> {
        let (caller, expire_time) = self.tokens.verify(bearer_token(metadata)?)?;
        match self.revocations.contain(&caller) {
            true => Err(Error::AccessTokenInvalid),
            false => Ok((caller, expire_time)),
        }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(permit) = self.0.admit(&request)? {
            request.extensions_mut().insert(permit);
        }
        Ok(request)
    }
}

/// The token of the one `authorization: Bearer …` header (RFC 6750 section 2.1).
fn bearer_token(metadata: &MetadataMap) -> Result<&str> {
    let mut headers = metadata.get_all("authorization").iter();
    let header = headers.next().ok_or(Error::AccessTokenMissing)?;
    if headers.next().is_some() {
        return Err(Error::AccessTokenInvalid);
    }

    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|header| header.split_once(' '))
        .ok_or(Error::AccessTokenInvalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::AccessTokenInvalid);
    }
    Ok(token.trim())
}
