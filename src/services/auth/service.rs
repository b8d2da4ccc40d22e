use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::{
        AccessTokens, IdTokens, PasswordHasher, RelyingParty, Revocations, Sealer,
        account_at_address,
    },
    database::Database,
    domain::{Email, ProjectId, RequestOrigin, SealedStreamKey, SessionTimeouts, StreamKey},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{
        ApiKeys, AuditLog, EmailChanges, FailedAttempts, Identities, MailTokens, Notices, Outbox,
        Passkeys, Projects, SecondFactors, Sessions, Users,
    },
    services::{paging::PageTokens, rpc::implement_service},
};

/// How many attempts on one account this replica handles at once.
const MAX_CONCURRENT_ATTEMPTS: usize = 2;

/// How many more attempts on one account may wait.
const MAX_WAITING_ATTEMPTS: usize = 64;

/// The retry delay for an attempt that finds the queue full.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The number of accounts from which unused queues are removed.
const CLEANUP_THRESHOLD: usize = 1024;

/// The service for accounts, sessions and API keys.
#[derive(Debug)]
pub struct AuthService {
    pub(super) database: Database,
    pub(super) users: Users,
    pub(super) sessions: Sessions,
    pub(super) failed_attempts: FailedAttempts,
    pub(super) attempt_queue: AttemptQueue,
    pub(super) identities: Identities,
    pub(super) second_factors: SecondFactors,
    pub(super) passkeys: Passkeys,
    pub(super) mail_tokens: MailTokens,
    pub(super) email_changes: EmailChanges,
    pub(super) api_keys: ApiKeys,
    pub(super) projects: Projects,
    pub(super) audit_log: AuditLog,
    pub(super) tokens: AccessTokens,
    pub(super) id_tokens: IdTokens,
    /// This service as passkeys know it; `None` if passkeys are off.
    pub(super) relying_party: Option<RelyingParty>,
    pub(super) hasher: PasswordHasher,
    pub(super) revocations: Revocations,
    pub(super) sealer: Sealer,
    pub(super) page_tokens: PageTokens,
    pub(super) session_timeouts: SessionTimeouts,
    /// How old the authentication of a session may be in sensitive calls; zero means any age.
    pub(super) recent_authentication: Duration,
    /// The queue of e-mail messages; `None` if mail is off.
    pub(super) outbox: Option<Outbox>,
}

/// The dependencies of [`AuthService`].
pub struct AuthDependencies {
    /// The database.
    pub database: Database,
    /// Issues access tokens.
    pub tokens: AccessTokens,
    /// The revoked sessions and API keys.
    pub revocations: Revocations,
    /// Seals secrets in the database.
    pub sealer: Sealer,
    /// Hashes passwords.
    pub hasher: PasswordHasher,
    /// Verifies the id tokens of the accepted issuers.
    pub id_tokens: IdTokens,
    /// This service as passkeys know it; `None` if passkeys are off.
    pub relying_party: Option<RelyingParty>,
    /// How long sessions last.
    pub session_timeouts: SessionTimeouts,
    /// How old the authentication of a session may be in sensitive calls; zero means any age.
    pub recent_authentication: Duration,
    /// The queue of e-mail messages; `None` if mail is off.
    pub outbox: Option<Outbox>,
}

impl AuthService {
    /// The service with its dependencies.
    pub fn new(dependencies: AuthDependencies) -> Self {
        let database = dependencies.database;
        let notices = Notices::new(dependencies.outbox.is_some());
        Self {
            users: Users::new(database.clone()).with_notices(notices),
            sessions: Sessions::new(database.clone()).with_notices(notices),
            failed_attempts: FailedAttempts::new(database.clone()),
            attempt_queue: AttemptQueue::default(),
            identities: Identities::new(database.clone()),
            second_factors: SecondFactors::new(database.clone()).with_notices(notices),
            passkeys: Passkeys::new(database.clone()).with_notices(notices),
            email_changes: EmailChanges::new(database.clone()),
            mail_tokens: MailTokens::new(database.clone()).with_notices(notices),
            api_keys: ApiKeys::new(database.clone()).with_notices(notices),
            projects: Projects::new(database.clone()),
            audit_log: AuditLog::new(database.clone()),
            database,
            tokens: dependencies.tokens,
            id_tokens: dependencies.id_tokens,
            relying_party: dependencies.relying_party,
            hasher: dependencies.hasher,
            revocations: dependencies.revocations,
            page_tokens: PageTokens::new(dependencies.sealer.clone()),
            sealer: dependencies.sealer,
            session_timeouts: dependencies.session_timeouts,
            recent_authentication: dependencies.recent_authentication,
            outbox: dependencies.outbox,
        }
    }

    /// Makes the stream keys of projects that their owner takes over from somebody else.
    pub(super) fn new_stream_key(&self) -> impl Fn(ProjectId) -> SealedStreamKey + Send + Sync {
        let sealer = self.sealer.clone();
        move |id| StreamKey::generate().seal(id, &sealer)
    }
}

/// Serialises sign-in attempts on one account.
///
/// An attempt counts as a failure until it has succeeded. Without the queue, many correct attempts
/// at once would be taken for guessing. Each network has its own queue, so that nobody waits behind
/// strangers.
#[derive(Debug, Default)]
pub(super) struct AttemptQueue {
    accounts: Mutex<HashMap<Vec<u8>, Weak<Semaphore>>>,
}

impl AttemptQueue {
    /// Waits for the right to attempt a sign-in, until it is dropped; `TooManyAttempts` if
    /// the queue is full.
    pub async fn acquire(
        &self,
        email: &Email,
        origin: &RequestOrigin,
    ) -> Result<OwnedSemaphorePermit> {
        let queue = self.queue_of(account_at_address(email.key(), origin));
        if Arc::strong_count(&queue) > MAX_CONCURRENT_ATTEMPTS + MAX_WAITING_ATTEMPTS {
            return Err(Error::TooManyAttempts(RETRY_DELAY));
        }
        queue.acquire_owned().await.map_err(Error::internal)
    }

    fn queue_of(&self, account: Vec<u8>) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock();
        if let Some(queue) = accounts.get(&account).and_then(Weak::upgrade) {
            return queue;
        }
        if accounts.len() >= CLEANUP_THRESHOLD {
            accounts.retain(|_, queue| queue.strong_count() > 0);
        }
        let queue = Arc::new(Semaphore::new(MAX_CONCURRENT_ATTEMPTS));
        accounts.insert(account, Arc::downgrade(&queue));
        queue
    }
}

implement_service! {
    AuthService as pb::auth_service_server::AuthService {
        rpc sign_up(pb::SignUpRequest) -> pb::SignUpResponse;
        rpc sign_in(pb::SignInRequest) -> pb::SignInResponse;
        rpc sign_in_with_id_token(pb::SignInWithIdTokenRequest) -> pb::SignInWithIdTokenResponse;
        rpc refresh_tokens(pb::RefreshTokensRequest) -> pb::RefreshTokensResponse;
        rpc sign_out(pb::SignOutRequest) -> pb::SignOutResponse;
        rpc list_sessions(pb::ListSessionsRequest) -> pb::ListSessionsResponse;
        rpc revoke_session(pb::RevokeSessionRequest) -> pb::RevokeSessionResponse;
        rpc get_me(pb::GetMeRequest) -> pb::GetMeResponse;
        rpc update_me(pb::UpdateMeRequest) -> pb::UpdateMeResponse;
        rpc change_password(pb::ChangePasswordRequest) -> pb::ChangePasswordResponse;
        rpc delete_me(pb::DeleteMeRequest) -> pb::DeleteMeResponse;
        rpc request_email_verification(pb::RequestEmailVerificationRequest) -> pb::RequestEmailVerificationResponse;
        rpc verify_email(pb::VerifyEmailRequest) -> pb::VerifyEmailResponse;
        rpc request_password_reset(pb::RequestPasswordResetRequest) -> pb::RequestPasswordResetResponse;
        rpc reset_password(pb::ResetPasswordRequest) -> pb::ResetPasswordResponse;
        rpc create_api_key(pb::CreateApiKeyRequest) -> pb::CreateApiKeyResponse;
        rpc list_api_keys(pb::ListApiKeysRequest) -> pb::ListApiKeysResponse;
        rpc revoke_api_key(pb::RevokeApiKeyRequest) -> pb::RevokeApiKeyResponse;
        rpc adopt_api_key(pb::AdoptApiKeyRequest) -> pb::AdoptApiKeyResponse;
        rpc exchange_api_key(pb::ExchangeApiKeyRequest) -> pb::ExchangeApiKeyResponse;
        rpc get_jwks(pb::GetJwksRequest) -> pb::GetJwksResponse;
        rpc list_audit_events(pb::ListAuditEventsRequest) -> pb::ListAuditEventsResponse;
        rpc request_email_change(pb::RequestEmailChangeRequest) -> pb::RequestEmailChangeResponse;
        rpc confirm_email_change(pb::ConfirmEmailChangeRequest) -> pb::ConfirmEmailChangeResponse;
        rpc cancel_email_change(pb::CancelEmailChangeRequest) -> pb::CancelEmailChangeResponse;
        rpc reauthenticate(pb::ReauthenticateRequest) -> pb::ReauthenticateResponse;
        rpc create_second_factor(pb::CreateSecondFactorRequest) -> pb::CreateSecondFactorResponse;
        rpc confirm_second_factor(pb::ConfirmSecondFactorRequest) -> pb::ConfirmSecondFactorResponse;
        rpc list_second_factors(pb::ListSecondFactorsRequest) -> pb::ListSecondFactorsResponse;
        rpc delete_second_factor(pb::DeleteSecondFactorRequest) -> pb::DeleteSecondFactorResponse;
        rpc regenerate_recovery_codes(pb::RegenerateRecoveryCodesRequest) -> pb::RegenerateRecoveryCodesResponse;
        rpc begin_passkey_registration(pb::BeginPasskeyRegistrationRequest) -> pb::BeginPasskeyRegistrationResponse;
        rpc finish_passkey_registration(pb::FinishPasskeyRegistrationRequest) -> pb::FinishPasskeyRegistrationResponse;
        rpc list_passkeys(pb::ListPasskeysRequest) -> pb::ListPasskeysResponse;
        rpc update_passkey(pb::UpdatePasskeyRequest) -> pb::UpdatePasskeyResponse;
        rpc delete_passkey(pb::DeletePasskeyRequest) -> pb::DeletePasskeyResponse;
        rpc begin_passkey_authentication(pb::BeginPasskeyAuthenticationRequest) -> pb::BeginPasskeyAuthenticationResponse;
        rpc sign_in_with_passkey(pb::SignInWithPasskeyRequest) -> pb::SignInWithPasskeyResponse;
    }
}
