use super::{accounts::Accounts, session_issuer::SessionIssuer, sign_in_queue::AttemptQueue};
use crate::{
    auth::{AccessTokens, IdTokens, PasswordHasher, Revocations, Sealer},
    database::Database,
    domain::SessionTimeouts,
    proto::v1 as pb,
    repositories::{
        ApiKeys, AuditLog, FailedAttempts, Identities, MailTokens, Outbox, Sessions, Users,
    },
    services::{implement_service::implement_service, paging::PageTokens},
};

/// The service for accounts, sessions and API keys.
#[derive(Debug)]
pub struct AuthService {
    pub(super) accounts: Accounts,
    pub(super) session_issuer: SessionIssuer,
    pub(super) users: Users,
    pub(super) sessions: Sessions,
    pub(super) identities: Identities,
    pub(super) mail_tokens: MailTokens,
    pub(super) api_keys: ApiKeys,
    pub(super) audit_log: AuditLog,
    pub(super) tokens: AccessTokens,
    pub(super) id_tokens: IdTokens,
    pub(super) hasher: PasswordHasher,
    pub(super) revocations: Revocations,
    pub(super) sealer: Sealer,
    pub(super) page_tokens: PageTokens,
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
    /// How long sessions last.
    pub timeouts: SessionTimeouts,
    /// The queue of e-mail messages; `None` if mail is off.
    pub outbox: Option<Outbox>,
}

impl AuthService {
    /// The service with its dependencies.
    pub fn new(dependencies: AuthDependencies) -> Self {
        let AuthDependencies {
            database,
            tokens,
            revocations,
            sealer,
            hasher,
            id_tokens,
            timeouts,
            outbox,
        } = dependencies;
        let users = Users::new(database.clone());
        let sessions = Sessions::new(database.clone());
        let audit_log = AuditLog::new(database.clone());
        Self {
            accounts: Accounts {
                database: database.clone(),
                users: users.clone(),
                failed_attempts: FailedAttempts::new(database.clone()),
                attempt_queue: AttemptQueue::default(),
                audit_log: audit_log.clone(),
                hasher: hasher.clone(),
                outbox: outbox.clone(),
            },
            session_issuer: SessionIssuer {
                sessions: sessions.clone(),
                tokens: tokens.clone(),
                revocations: revocations.clone(),
                sealer: sealer.clone(),
                timeouts,
            },
            users,
            sessions,
            identities: Identities::new(database.clone()),
            mail_tokens: MailTokens::new(database.clone()),
            api_keys: ApiKeys::new(database),
            audit_log,
            tokens,
            id_tokens,
            hasher,
            revocations,
            page_tokens: PageTokens::new(sealer.clone()),
            sealer,
            outbox,
        }
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
        rpc exchange_api_key(pb::ExchangeApiKeyRequest) -> pb::ExchangeApiKeyResponse;
        rpc get_jwks(pb::GetJwksRequest) -> pb::GetJwksResponse;
        rpc list_audit_events(pb::ListAuditEventsRequest) -> pb::ListAuditEventsResponse;
    }
}
