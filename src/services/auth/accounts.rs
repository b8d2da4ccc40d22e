use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{
    messages::{ChangePassword, SignUp},
    service::AuthService,
};
use crate::{
    auth::{AttemptSubject, HashSlot, PasswordVerification},
    domain::{AuditContext, Email, Password, RequestOrigin, Session, SessionId, User, UserId, now},
    error::{Error, Result},
    repositories::{CountedAttempt, IdempotencyKey, NewUser, Outbox},
};

/// A user whose password has been verified.
#[derive(Debug)]
pub(super) struct AuthenticatedUser {
    pub user: User,
    /// The hash of their password.
    pub hash: String,
    /// The attempt, unless the account is new.
    pub attempt: Option<PendingAttempt>,
}

/// A sign-in attempt, which counts as a failure until a session begins.
#[derive(Debug)]
pub(super) struct PendingAttempt {
    pub counted: CountedAttempt,
    password: Password,
    slot: HashSlot,
    _permit: OwnedSemaphorePermit,
}

/// Creates, changes and deletes accounts, and verifies passwords.
impl AuthService {
    /// Creates an account. A repeated request gets the existing account if its password is correct.
    pub(super) async fn create_account(
        &self,
        sign_up: SignUp,
        slot: HashSlot,
        origin: &RequestOrigin,
    ) -> Result<AuthenticatedUser> {
        let SignUp {
            email,
            password,
            display_name,
            idempotency,
        } = sign_up;
        if self.is_repetition(idempotency.as_ref()).await? {
            drop(slot);
            return self.repeat_create(&email, password, origin).await;
        }

        let password_hash = slot.hash(password.clone()).await?;
        drop(slot);
        let id = UserId::generate();
        let new = NewUser {
            id,
            email,
            display_name,
            password_hash,
            idempotency,
            verify: self.outbox.is_some(),
        };
        let audit = AuditContext::for_user("SignUp", Some(id), origin.clone());
        let created = self.users.create(&new, &audit, now()).await;
        if matches!(created, Err(Error::EmailTaken))
            && self.is_repetition(new.idempotency.as_ref()).await?
        {
            // A concurrent repetition of the request was faster.
            return self.repeat_create(&new.email, password, origin).await;
        }
        let user = created?;
        self.outbox.iter().for_each(Outbox::wake_sender);
        Ok(AuthenticatedUser {
            user,
            hash: new.password_hash,
            attempt: None,
        })
    }

    async fn is_repetition(&self, idempotency: Option<&IdempotencyKey>) -> Result<bool> {
        match idempotency {
            Some(key) => Ok(key.find(&self.database, now()).await?.is_some()),
            None => Ok(false),
        }
    }

    /// The account that an earlier request created. With another password it is not a repetition.
    async fn repeat_create(
        &self,
        email: &Email,
        password: Password,
        origin: &RequestOrigin,
    ) -> Result<AuthenticatedUser> {
        let authenticated = self.authenticate(email, password, origin).await;
        authenticated.map_err(|error| match error {
            Error::CredentialsInvalid => IdempotencyKey::request_id_reused(),
            error => error,
        })
    }

    /// Verifies the password of the account with an address.
    ///
    /// An unknown address and an account without a password cost the same work and get the same
    /// error.
    pub(super) async fn authenticate(
        &self,
        email: &Email,
        password: Password,
        origin: &RequestOrigin,
    ) -> Result<AuthenticatedUser> {
        let permit = self.attempt_queue.acquire(email, origin).await?;
        // This order matters: a rejected call costs nothing, and an attempt is counted before its
        // password is verified.
        let slot = self.hasher.reserve_slot(origin.peer_address)?;
        let subject = AttemptSubject::of_sign_in(email.key(), origin);
        let counted = self.failed_attempts.count(&subject, now()).await?;
        let (user, hash) = self.users.find_by_email(email).await?.unzip();

        let attempt = PendingAttempt {
            counted,
            password,
            slot,
            _permit: permit,
        };
        self.verify_attempt(user, hash.flatten(), attempt, origin)
            .await
    }

    /// Verifies an attempt again, because the password hash of the account has changed.
    pub(super) async fn authenticate_again(
        &self,
        authenticated: AuthenticatedUser,
        origin: &RequestOrigin,
    ) -> Result<AuthenticatedUser> {
        let attempt = authenticated.attempt.ok_or(Error::ConcurrentChange)?;
        let hash = match self.users.password_hash(authenticated.user.id).await {
            // A deleted account is like an unknown address.
            Err(Error::NotFound { .. }) => None,
            hash => hash?,
        };
        self.verify_attempt(Some(authenticated.user), hash, attempt, origin)
            .await
    }

    async fn verify_attempt(
        &self,
        user: Option<User>,
        hash: Option<String>,
        attempt: PendingAttempt,
        origin: &RequestOrigin,
    ) -> Result<AuthenticatedUser> {
        let PendingAttempt { password, slot, .. } = &attempt;
        let verification = slot.verify(password.clone(), hash.clone()).await?;
        match (user, hash, verification) {
            (Some(user), Some(hash), PasswordVerification::Match { needs_rehash }) => {
                let hash = match needs_rehash {
                    // If another call is faster, the session does not begin with this hash.
                    true => {
                        let new = attempt.slot.hash(attempt.password.clone()).await?;
                        self.users.rehash(user.id, &hash, &new).await?;
                        new
                    }
                    false => hash,
                };
                let attempt = Some(attempt);
                Ok(AuthenticatedUser {
                    user,
                    hash,
                    attempt,
                })
            }
            (user, ..) => {
                let user = user.map(|user| user.id);
                let audit = AuditContext::for_user("SignIn", user, origin.clone());
                Err(self.record_wrong_password(&audit).await?)
            }
        }
    }

    /// Changes a password. Returns the sessions that this ended.
    pub(super) async fn replace_password(
        &self,
        change: ChangePassword,
        session: &Session,
        slot: HashSlot,
        audit: &AuditContext,
    ) -> Result<impl Iterator<Item = Uuid> + use<>> {
        let ChangePassword { current, new } = change;
        let owner = (session.user_id, session.id);
        let old = self
            .reauthenticate_password(owner, current, &slot, audit)
            .await?;

        let new = slot.hash(new).await?;
        let ended = self
            .users
            .change_password((&old, &new), session, audit, now())
            .await?;
        Ok(ended.into_iter().map(SessionId::uuid))
    }

    /// Deletes an account. Returns the sessions and API keys that this ended.
    pub(super) async fn delete_account(
        &self,
        (user, session): (UserId, SessionId),
        password: Password,
        audit: &AuditContext,
    ) -> Result<Vec<Uuid>> {
        let slot = self.hasher.reserve_slot(audit.origin.peer_address)?;
        let hash = self
            .reauthenticate_password((user, session), password, &slot, audit)
            .await?;

        self.users.delete(user, &hash, audit, now()).await
    }

    /// Verifies the password of a user with a session. Returns its hash.
    pub(super) async fn reauthenticate_password(
        &self,
        (user, session): (UserId, SessionId),
        password: Password,
        slot: &HashSlot,
        audit: &AuditContext,
    ) -> Result<String> {
        let subject = AttemptSubject::of_session(session);
        let counted = self.failed_attempts.count(&subject, now()).await?;
        let hash = self.users.password_hash(user).await?;

        match (slot.verify(password, hash.clone()).await?, hash) {
            (PasswordVerification::Match { .. }, Some(hash)) => {
                self.failed_attempts.clear(&counted).await?;
                Ok(hash)
            }
            _ => Err(self.record_wrong_password(audit).await?),
        }
    }

    /// Verifies the password of a user with a session, unless the account has none.
    pub(super) async fn verify_password_if_any(
        &self,
        (user, session): (UserId, SessionId),
        password: Option<Password>,
        audit: &AuditContext,
    ) -> Result<()> {
        match (self.users.password_hash(user).await?, password) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Error::invalid("password", "must not be empty")),
            (Some(_), Some(password)) => {
                let slot = self.hasher.reserve_slot(audit.origin.peer_address)?;
                let owner = (user, session);
                self.reauthenticate_password(owner, password, &slot, audit)
                    .await?;
                Ok(())
            }
        }
    }

    /// Records a wrong password in the audit log. Returns the error for the caller.
    async fn record_wrong_password(&self, audit: &AuditContext) -> Result<Error> {
        let error = Error::CredentialsInvalid;
        self.audit_log
            .record_refusal(audit, error.reason(), now())
            .await?;
        Ok(error)
    }
}
