use super::{service::AuthService, sessions::TokenPair};
use crate::{
    auth::{RefreshSeed, RefreshToken, RefreshTokenAge},
    domain::{AuditContext, RequestOrigin, Session, Time, now},
    error::{Error, Result},
};

impl AuthService {
    /// Exchanges a refresh token.
    ///
    /// The newest is replaced by the next one. The one before it is replaced by the newest, because
    /// the response may have been lost. An older one was stolen or reused, and ends the session.
    pub(super) async fn refresh_session(
        &self,
        token: &RefreshToken,
        origin: RequestOrigin,
    ) -> Result<TokenPair> {
        loop {
            let now = now();
            let mut session = self
                .sessions
                .find(token.session_id, now)
                .await?
                .filter(|session| session.last_used_time + self.session_timeouts.idle_timeout > now)
                .ok_or(Error::RefreshTokenInvalid)?;
            let seed = RefreshSeed::unseal(&session.refresh_seed, session.id, &self.sealer)?;
            if !seed.verifies(token) {
                return Err(Error::RefreshTokenInvalid);
            }

            let newest = session.refresh_counter;
            match token.age(newest) {
                RefreshTokenAge::Newest => {
                    if self.sessions.advance(session.id, newest, now).await? {
                        session.last_used_time = now;
                        return self.token_pair(&session, &seed, newest + 1, now);
                    }
                    // A concurrent call with the same token was faster. Read the session again.
                }
                RefreshTokenAge::Previous => return self.token_pair(&session, &seed, newest, now),
                RefreshTokenAge::Reused => return self.end_reused(&session, origin, now).await,
            }
        }
    }

    /// Ends a session one of whose old refresh tokens was used again.
    async fn end_reused<T>(
        &self,
        session: &Session,
        origin: RequestOrigin,
        now: Time,
    ) -> Result<T> {
        let audit = AuditContext::for_user("RefreshTokens", Some(session.user_id), origin)
            .with_session(session.id);
        let error = Error::RefreshTokenReused;
        self.sessions
            .revoke(session.user_id, session.id, Some(&error), &audit, now)
            .await?;
        self.revocations.add([session.id.uuid()], now);
        tracing::warn!(session_id = %session.id, "an old refresh token was used again");
        Err(error)
    }
}
