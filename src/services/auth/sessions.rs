use super::service::AuthService;
use crate::{
    auth::{
        AccessToken, Caller, RefreshSeed, RefreshToken, RefreshTokenAge, Subject,
        account_at_address,
    },
    domain::{AuditContext, RequestOrigin, Scope, Secret, Session, SessionId, Time, User, now},
    error::{Error, Result},
    repositories::VerifiedCredential,
};

/// The tokens of a session.
#[derive(Debug)]
pub(super) struct TokenPair {
    pub access: AccessToken,
    pub refresh_token: Secret,
    pub refresh_token_expire_time: Time,
}

/// Begins and refreshes sessions, and issues their tokens.
impl AuthService {
    /// Begins a session of a user; `ConcurrentChange` if the credential is no longer valid.
    pub(super) async fn begin_session(
        &self,
        action: &'static str,
        user: &User,
        credential: VerifiedCredential<'_>,
        origin: RequestOrigin,
    ) -> Result<TokenPair> {
        let now = now();
        let id = SessionId::generate();
        let audit = AuditContext::for_user(action, Some(user.id), origin.clone()).with_session(id);
        let seed = RefreshSeed::generate();
        let session = Session {
            id,
            user_id: user.id,
            refresh_seed: seed.seal(id, &self.sealer),
            refresh_counter: 1,
            origin,
            create_time: now,
            last_used_time: now,
            expire_time: now + self.session_timeouts.lifetime,
        };

        let familiar = account_at_address(&user.email.to_lowercase(), &session.origin);
        self.sessions
            .create(&session, credential, &familiar, &audit)
            .await?;
        self.token_pair(&session, &seed, 1, now)
    }

    /// Issues tokens for a session, so that earlier refresh tokens become invalid.
    ///
    /// The caller has to store the returned session. The tokens are valid from then on.
    pub(super) async fn renew_session(&self, id: SessionId) -> Result<(Session, TokenPair)> {
        let now = now();
        let session = self.sessions.find(id, now).await?;
        let session = session.ok_or(Error::AccessTokenInvalid)?;
        let seed = RefreshSeed::generate();
        let session = Session {
            refresh_seed: seed.seal(id, &self.sealer),
            refresh_counter: 1,
            last_used_time: now,
            ..session
        };

        let tokens = self.token_pair(&session, &seed, 1, now)?;
        Ok((session, tokens))
    }

    /// Exchanges a refresh token.
    ///
    /// The newest is replaced by the next one. The one before it is replaced by the newest, because
    /// the response may have been lost. An older one was stolen or reused, and ends the session.
    pub(super) async fn refresh_session(
        &self,
        token: &RefreshToken,
        origin: RequestOrigin,
    ) -> Result<TokenPair> {
        let now = now();
        loop {
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

    fn token_pair(
        &self,
        session: &Session,
        seed: &RefreshSeed,
        counter: i64,
        now: Time,
    ) -> Result<TokenPair> {
        let subject = Subject::User {
            user: session.user_id,
            session: session.id,
        };
        let caller = Caller {
            subject,
            scopes: Scope::USER_SCOPES.into_iter().collect(),
        };
        Ok(TokenPair {
            access: self.tokens.issue(&caller, now)?,
            refresh_token: seed.token(session.id, counter),
            refresh_token_expire_time: self.session_timeouts.end_of(session),
        })
    }
}
