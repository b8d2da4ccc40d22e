use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};
use tracing::Span;

use super::{AccessTokens, Caller, RateLimits, RequiredAccess, Revocations};
use crate::{
    domain::{PeerAddress, Time, now},
    error::{Error, FoundInstead, Result},
};

/// The interceptor of all services: authenticates and authorizes each call, and
/// applies the rate limits.
///
/// It is cloned for each call; a clone shares everything.
#[derive(Debug, Clone)]
pub struct AuthInterceptor {
    tokens: AccessTokens,
    revocations: Revocations,
    limits: RateLimits,
}

impl AuthInterceptor {
    /// An interceptor that accepts these tokens unless they are revoked.
    pub fn new(tokens: AccessTokens, revocations: Revocations, limits: RateLimits) -> Self {
        Self {
            tokens,
            revocations,
            limits,
        }
    }

    fn authorize(&self, request: &Request<()>) -> Result<Option<CallAuthorization>> {
        if !self.revocations.are_current() {
            return Err(Error::OutOfDate);
        }
        // A method that is missing in `access::METHODS` gets no caller: its handler fails closed.
        let access = request.extensions().get::<RequiredAccess>().copied();
        let peer = request.extensions().get::<PeerAddress>().copied();
        let access = access.unwrap_or(RequiredAccess::Public);
        if access == RequiredAccess::Public {
            return self.limits.count_address(peer).map(|()| None);
        }

        let (caller, expire_time) = self.authenticate(request.metadata()).or_else(|error| {
            self.limits.count_address(peer)?;
            Err(error)
        })?;
        self.limits.count_caller(&caller)?;
        Span::current().record("caller", tracing::field::display(&caller));
        match access {
            RequiredAccess::Session => drop(caller.session()?),
            RequiredAccess::Scopes(scopes) => {
                let missing = scopes.iter().find(|scope| !caller.scopes.contains(**scope));
                if let Some(missing) = missing {
                    return Err(Error::ScopeMissing(*missing));
                }
            }
            RequiredAccess::Public => {}
        }
        Ok(Some(CallAuthorization {
            caller,
            expire_time,
            revocations: self.revocations.clone(),
        }))
    }

    /// The caller that a valid token names, and when the token expires.
    fn authenticate(&self, metadata: &MetadataMap) -> Result<(Caller, Time)> {
        let (caller, expire_time) = self.tokens.verify(bearer_token(metadata)?)?;
        match self.revocations.contain(&caller) {
            true => Err(Error::AccessTokenInvalid),
            false => Ok((caller, expire_time)),
        }
    }
}

impl Interceptor for AuthInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = self.authorize(&request)? {
            request.extensions_mut().insert(authorization);
        }
        Ok(request)
    }
}

/// The token of the one `authorization: Bearer …` header (RFC 6750 section 2.1).
fn bearer_token(metadata: &MetadataMap) -> Result<&str> {
    let mut headers = metadata.get_all("authorization").iter();
    let header = headers.next().ok_or(Error::AccessTokenMissing)?;
    if headers.next().is_some() {
        return Err(Error::AccessTokenMalformed(FoundInstead::SeveralHeaders));
    }

    let header = header.to_str().unwrap_or_default();
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Error::AccessTokenMalformed(FoundInstead::NoBearer)),
    }
}

/// The authorization of a call. It ends when the access token expires or is revoked.
///
/// The interceptor adds it to each request that has a caller. Long-running calls check
/// it while they run.
#[derive(Debug, Clone)]
pub struct CallAuthorization {
    caller: Caller,
    expire_time: Time,
    revocations: Revocations,
}

impl CallAuthorization {
    /// The authorization of a request. Fails closed where the interceptor did not run.
    pub fn of<T>(request: &Request<T>) -> Result<Self> {
        let authorization = request.extensions().get::<Self>().cloned();
        authorization.ok_or(Error::AccessTokenMissing)
    }

    /// The caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Fails once the call may not go on. Long-running calls ask at least once a second.
    pub fn check(&self) -> Result<()> {
        if !self.revocations.are_current() {
            return Err(Error::OutOfDate);
        }
        match (
            self.revocations.contain(&self.caller),
            self.expire_time <= now(),
        ) {
            (true, _) => Err(Error::AccessTokenInvalid),
            (false, true) => Err(Error::AccessTokenExpired),
            (false, false) => Ok(()),
        }
    }
}

impl Caller {
    /// The caller of a request. Fails closed where the interceptor did not run.
    pub fn of<T>(request: &Request<T>) -> Result<Self> {
        let authorization = request.extensions().get::<CallAuthorization>();
        let authorization = authorization.ok_or(Error::AccessTokenMissing)?;
        Ok(authorization.caller.clone())
    }
}
