use super::{factor_messages::FactorResponse, service::AuthService};
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
    /// `AccountSuspended` if an operator has suspended the account, `SecondFactorRequired` if the
    /// account has a second factor and `factor` is `None`.
    pub(super) async fn begin_session(
        &self,
        action: &'static str,
        user: &User,
        credential: VerifiedCredential<'_>,
        factor: Option<&FactorResponse>,
        origin: RequestOrigin,
    ) -> Result<TokenPair> {
        let audit = AuditContext::for_user(action, Some(user.id), origin.clone());
        match self.create_session(user, credential, factor, &audit).await {
            Err(
                error @ (Error::AccountSuspended
                | Error::SecondFactorRequired
                | Error::SecondFactorInvalid
                | Error::PasskeyInvalid(_)
                | Error::PasskeysDisabled
                | Error::TooManyAttempts(_)),
            ) => self.refuse_credential(error, credential, &audit).await,
            created => created,
        }
    }

    async fn create_session(
        &self,
        user: &User,
        credential: VerifiedCredential<'_>,
        factor: Option<&FactorResponse>,
        audit: &AuditContext,
    ) -> Result<TokenPair> {
        let second_factor = match factor {
            Some(factor) => {
                self.verify_second_factor(user, factor, &audit.origin)
                    .await?
            }
            None => None,
        };
        let now = now();
        let id = SessionId::generate();
        let audit = audit.clone().with_session(id);
        let seed = RefreshSeed::generate();
        let session = Session {
            id,
            user_id: user.id,
            refresh_seed: seed.seal(id, &self.sealer),
            refresh_counter: 1,
            origin: audit.origin.clone(),
            create_time: now,
            auth_time: now,
            last_used_time: now,
            expire_time: now + self.session_timeouts.lifetime,
        };

        let familiar = account_at_address(&user.email.to_lowercase(), &session.origin);
        self.sessions
            .create(
                &session,
                credential,
                second_factor.as_ref(),
                &familiar,
                &audit,
            )
            .await?;
        self.token_pair(&session, &seed, 1, now)
    }

    /// Refuses a valid credential, because it is not enough. The attempt does not count as a
    /// failure, because its password or its passkey is correct.
    async fn refuse_credential<T>(
        &self,
        error: Error,
        credential: VerifiedCredential<'_>,
        audit: &AuditContext,
    ) -> Result<T> {
        let attempt = match credential {
            VerifiedCredential::Password { attempt, .. } => attempt,
            VerifiedCredential::Passkey(_) if matches!(error, Error::PasskeyInvalid(_)) => None,
            VerifiedCredential::Passkey(verified) => Some(&verified.attempt),
            VerifiedCredential::Identity(_) => None,
        };
        if let Some(attempt) = attempt {
            self.failed_attempts.clear(attempt).await?;
        }
        if !matches!(error, Error::TooManyAttempts(_)) {
            let reason = error.reason();
            self.audit_log.record_refusal(audit, reason, now()).await?;
        }
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
        Ok(TokenPair {
            access: self.access_token(session, now)?,
            refresh_token: seed.token(session.id, counter),
            refresh_token_expire_time: self.session_timeouts.end_of(session),
        })
    }

    /// An access token of a session.
    pub(super) fn access_token(&self, session: &Session, now: Time) -> Result<AccessToken> {
        let subject = Subject::User {
            user: session.user_id,
            session: session.id,
            auth_time: Some(session.auth_time),
        };
        let caller = Caller {
            subject,
            scopes: Scope::USER_SCOPES.into_iter().collect(),
        };
        let session_end = self.session_timeouts.end_of(session);
        self.tokens.issue(&caller, Some(session_end), now)
    }
}
