use tonic::Request;

use super::{Caller, Revocations};
use crate::{
    domain::{Time, now},
    error::{Error, Result},
};

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
    /// Authorizes a caller until its access token expires.
    pub(super) fn new(caller: Caller, expire_time: Time, revocations: Revocations) -> Self {
        Self {
            caller,
            expire_time,
            revocations,
        }
    }

    /// The authorization of a request. Fails closed where the interceptor did not run.
    pub fn of<T>(request: &Request<T>) -> Result<Self> {
        let authorization = request.extensions().get::<Self>().cloned();
        authorization.ok_or(Error::AccessTokenMissing)
    }

    /// Fails once the call may not go on. Long-running calls ask at least once a second.
    pub fn check(&self) -> Result<()> {
        if !self.revocations.are_current() {
            return Err(Error::OutOfDate);
        }
        if self.expire_time <= now() || self.revocations.contain(&self.caller) {
            return Err(Error::AccessTokenInvalid);
        }
        Ok(())
    }
}

impl Caller {
    /// The caller of a request. Fails closed where the interceptor did not run.
    pub fn of<T>(request: &Request<T>) -> Result<Self> {
        let authorization = request.extensions().get::<CallAuthorization>();
        let authorization = authorization.ok_or(Error::AccessTokenMissing)?;
        Ok(authorization.caller)
    }
}
