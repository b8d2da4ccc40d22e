use http::uri::PathAndQuery;
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};
use tracing::Span;

use super::{Access, AccessTokens, Caller, Revocations, access};
use crate::error::{Error, Result};

/// The interceptor before all services: lets a call through if the caller has
/// what the RPC needs.
#[derive(Debug, Clone)]
pub struct Guard {
    tokens: AccessTokens,
    revocations: Revocations,
}

impl Guard {
    /// A guard that accepts these tokens, but for those that were revoked.
    pub fn new(tokens: AccessTokens, revocations: Revocations) -> Self {
        Self {
            tokens,
            revocations,
        }
    }

    fn admit(&self, request: &Request<()>) -> Result<Option<Caller>> {
        if !self.revocations.are_current() {
            return Err(Error::OutOfDate);
        }
        // An RPC that is missing in the table gets no caller, so its handler refuses.
        let path = request
            .extensions()
            .get::<PathAndQuery>()
            .map_or("", PathAndQuery::path);
        let Some(access) = access::needed_for(path) else {
            return Ok(None);
        };
        if access == Access::Public {
            return Ok(None);
        }

        let caller = self.tokens.verify(bearer_token(request.metadata())?)?;
        if self.revocations.contain(&caller) {
            return Err(Error::AccessTokenInvalid);
        }
        Span::current().record("caller", tracing::field::display(&caller));
        match access {
            Access::Session => drop(caller.session()?),
            Access::Scope(scope) if !caller.scopes.contains(scope) => {
                return Err(Error::ScopeMissing(scope));
            }
            Access::Scope(_) | Access::Public => {}
        }
        Ok(Some(caller))
    }
}

impl Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(caller) = self.admit(&request)? {
            request.extensions_mut().insert(caller);
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
