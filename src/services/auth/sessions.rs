use super::service::AuthService;
use crate::{
    auth::{AccessToken, Caller, RefreshSeed, Subject, account_at_address},
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

/// Begins sessions, and issues their tokens.
impl AuthService {
    /// Begins a session of a user; `ConcurrentChange` if the credential is no longer valid,
    /// `AccountSuspended` if an operator has suspended the account.
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
        let created = self
            .sessions
            .create(&session, credential, &familiar, &audit)
            .await;
        if let Err(error @ Error::AccountSuspended) = created {
            return self.refuse_suspended(error, credential, audit).await;
        }
        created?;
        self.token_pair(&session, &seed, 1, now)
    }

    /// Refuses to sign in to a suspended account. The attempt does not count as a failure, because
    /// its password is correct.
    async fn refuse_suspended<T>(
        &self,
        error: Error,
        credential: VerifiedCredential<'_>,
        audit: AuditContext,
    ) -> Result<T> {
        if let VerifiedCredential::Password {
            attempt: Some(attempt),
            ..
        } = credential
        {
            self.failed_attempts.clear(attempt).await?;
        }
        let audit = AuditContext {
            session_id: None,
            ..audit
        };
        self.audit_log
            .record_refusal(&audit, error.reason(), now())
            .await?;
        Err(error)
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

    /// The tokens of a session, the refresh token with this number.
    pub(super) fn token_pair(
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
        let session_end = self.session_timeouts.end_of(session);
        Ok(TokenPair {
            access: self.tokens.issue(&caller, Some(session_end), now)?,
            refresh_token: seed.token(session.id, counter),
            refresh_token_expire_time: session_end,
        })
    }
}
