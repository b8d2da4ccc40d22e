use tonic::Request;

use super::{Caller, Revocations};
use crate::{
    domain::{Time, now},
    error::{Error, Result},
};

/// The right to a call that goes on for long: it ends when its token expires or
/// is revoked. The interceptor hands it to every call that has a caller.
#[derive(Debug, Clone)]
pub struct Permit {
    caller: Caller,
    expire_time: Time,
    revocations: Revocations,
}

impl Permit {
    /// The right of a caller, until its token expires.
    pub(super) fn new(caller: Caller, expire_time: Time, revocations: Revocations) -> Self {
        Self {
            caller,
            expire_time,
            revocations,
        }
    }

    /// The right behind a request. Fails closed where the interceptor did not run.
    pub fn of<T>(request: &Request<T>) -> Result<Self> {
        let permit = request.extensions().get::<Self>().cloned();
        permit.ok_or(Error::AccessTokenMissing)
    }

    /// Whose right it is.
    pub(super) fn caller(&self) -> Caller {
        self.caller
    }

    /// Whether the call may go on; to be asked at least once a second.
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
