use tonic::{Request, Response, Status};

use super::{
    account_rpcs::AccountRpcs, accounts::Accounts, api_key_rpcs::ApiKeyRpcs,
    attempt_queue::AttemptQueue, audit_rpcs::AuditRpcs, id_token_rpcs::IdTokenRpcs,
    mail_rpcs::MailRpcs, session_issuer::SessionIssuer, session_rpcs::SessionRpcs,
};
use crate::{
    auth::{AccessTokens, IdTokens, PasswordHasher, Revocations, Sealer},
    database::Database,
    domain::SessionTimeouts,
    proto::v1 as pb,
    repositories::{
        ApiKeys, AuditLog, FailedAttempts, Identities, MailTokens, Outbox, Sessions, Users,
    },
    services::paging::PageTokens,
};

/// The service for accounts, sessions and API keys.
#[derive(Debug)]
pub struct AuthService {
    accounts: AccountRpcs,
    sessions: SessionRpcs,
    id_tokens: IdTokenRpcs,
    mail: MailRpcs,
    api_keys: ApiKeyRpcs,
    audit: AuditRpcs,
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
        let page_tokens = PageTokens::new(sealer.clone());
        let accounts = Accounts {
            database: database.clone(),
            users: users.clone(),
            failed_attempts: FailedAttempts::new(database.clone()),
            attempt_queue: AttemptQueue::default(),
            audit_log: AuditLog::new(database.clone()),
            hasher: hasher.clone(),
            outbox: outbox.clone(),
        };
        let session_issuer = SessionIssuer {
            sessions: sessions.clone(),
            tokens: tokens.clone(),
            revocations: revocations.clone(),
            sealer: sealer.clone(),
            timeouts,
        };

        Self {
            accounts: AccountRpcs {
                accounts: accounts.clone(),
                session_issuer: session_issuer.clone(),
                users,
                revocations: revocations.clone(),
                sealer,
            },
            sessions: SessionRpcs {
                session_issuer: session_issuer.clone(),
                sessions,
                revocations: revocations.clone(),
                page_tokens: page_tokens.clone(),
            },
            id_tokens: IdTokenRpcs {
                id_tokens,
                identities: Identities::new(database.clone()),
                session_issuer,
                revocations: revocations.clone(),
            },
            mail: MailRpcs {
                outbox,
                mail_tokens: MailTokens::new(database.clone()),
                hasher,
                revocations: revocations.clone(),
            },
            api_keys: ApiKeyRpcs {
                api_keys: ApiKeys::new(database.clone()),
                tokens,
                revocations,
                page_tokens: page_tokens.clone(),
            },
            audit: AuditRpcs {
                audit_log: AuditLog::new(database),
                page_tokens,
            },
        }
    }
}

#[tonic::async_trait]
impl pb::auth_service_server::AuthService for AuthService {
    async fn sign_up(
        &self,
        request: Request<pb::SignUpRequest>,
    ) -> Result<Response<pb::SignUpResponse>, Status> {
        Ok(self.accounts.sign_up(request).await?)
    }

    async fn sign_in(
        &self,
        request: Request<pb::SignInRequest>,
    ) -> Result<Response<pb::SignInResponse>, Status> {
        Ok(self.accounts.sign_in(request).await?)
    }

    async fn sign_in_with_id_token(
        &self,
        request: Request<pb::SignInWithIdTokenRequest>,
    ) -> Result<Response<pb::SignInWithIdTokenResponse>, Status> {
        Ok(self.id_tokens.sign_in_with_id_token(request).await?)
    }

    async fn refresh_tokens(
        &self,
        request: Request<pb::RefreshTokensRequest>,
    ) -> Result<Response<pb::RefreshTokensResponse>, Status> {
        Ok(self.sessions.refresh_tokens(request).await?)
    }

    async fn sign_out(
        &self,
        request: Request<pb::SignOutRequest>,
    ) -> Result<Response<pb::SignOutResponse>, Status> {
        Ok(self.sessions.sign_out(request).await?)
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        Ok(self.sessions.list_sessions(request).await?)
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<Response<pb::RevokeSessionResponse>, Status> {
        Ok(self.sessions.revoke_session(request).await?)
    }

    async fn get_me(
        &self,
        request: Request<pb::GetMeRequest>,
    ) -> Result<Response<pb::GetMeResponse>, Status> {
        Ok(self.accounts.get_me(request).await?)
    }

    async fn update_me(
        &self,
        request: Request<pb::UpdateMeRequest>,
    ) -> Result<Response<pb::UpdateMeResponse>, Status> {
        Ok(self.accounts.update_me(request).await?)
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        Ok(self.accounts.change_password(request).await?)
    }

    async fn delete_me(
        &self,
        request: Request<pb::DeleteMeRequest>,
    ) -> Result<Response<pb::DeleteMeResponse>, Status> {
        Ok(self.accounts.delete_me(request).await?)
    }

    async fn request_email_verification(
        &self,
        request: Request<pb::RequestEmailVerificationRequest>,
    ) -> Result<Response<pb::RequestEmailVerificationResponse>, Status> {
        Ok(self.mail.request_email_verification(request).await?)
    }

    async fn verify_email(
        &self,
        request: Request<pb::VerifyEmailRequest>,
    ) -> Result<Response<pb::VerifyEmailResponse>, Status> {
        Ok(self.mail.verify_email(request).await?)
    }

    async fn request_password_reset(
        &self,
        request: Request<pb::RequestPasswordResetRequest>,
    ) -> Result<Response<pb::RequestPasswordResetResponse>, Status> {
        Ok(self.mail.request_password_reset(request).await?)
    }

    async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>, Status> {
        Ok(self.mail.reset_password(request).await?)
    }

    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        Ok(self.api_keys.create_api_key(request).await?)
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        Ok(self.api_keys.list_api_keys(request).await?)
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        Ok(self.api_keys.revoke_api_key(request).await?)
    }

    async fn exchange_api_key(
        &self,
        request: Request<pb::ExchangeApiKeyRequest>,
    ) -> Result<Response<pb::ExchangeApiKeyResponse>, Status> {
        Ok(self.api_keys.exchange_api_key(request).await?)
    }

    async fn get_jwks(
        &self,
        request: Request<pb::GetJwksRequest>,
    ) -> Result<Response<pb::GetJwksResponse>, Status> {
        Ok(self.api_keys.get_jwks(request).await?)
    }

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        Ok(self.audit.list_audit_events(request).await?)
    }
}
