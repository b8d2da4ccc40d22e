use tonic::{Request, Response};

use super::{messages::not_empty, service::AuthService};
use crate::{
    auth::{Caller, HashSlot, MailToken, account_at_address},
    domain::{AuditContext, Email, EmailKind, Password, User, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::Outbox,
    services::{
        fields::{Fields, read_field},
        rpc::request_origin,
    },
};

/// The RPCs that send e-mail messages or accept the tokens in them.
impl AuthService {
    pub(super) async fn request_email_verification(
        &self,
        request: Request<pb::RequestEmailVerificationRequest>,
    ) -> Result<Response<pb::RequestEmailVerificationResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;

        self.outbox()?.add_verification(user, now()).await?;

        Ok(Response::new(pb::RequestEmailVerificationResponse {}))
    }

    pub(super) async fn verify_email(
        &self,
        request: Request<pb::VerifyEmailRequest>,
    ) -> Result<Response<pb::VerifyEmailResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let audit = caller.audit_context("VerifyEmail", request_origin(&request));
        let pb::VerifyEmailRequest { token } = request.into_inner();
        read_field("token", not_empty(&token))?;
        let hash = MailToken::new(&token).hash();

        self.mail_tokens
            .verify_email(user, &hash, &audit, now())
            .await?;

        Ok(Response::new(pb::VerifyEmailResponse {}))
    }

    pub(super) async fn request_password_reset(
        &self,
        request: Request<pb::RequestPasswordResetRequest>,
    ) -> Result<Response<pb::RequestPasswordResetResponse>> {
        let pb::RequestPasswordResetRequest { email } = request.into_inner();
        let email = read_field("email", Email::parse(&email))?;

        self.outbox()?.add_reset(&email, now()).await?;

        Ok(Response::new(pb::RequestPasswordResetResponse {}))
    }

    pub(super) async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>> {
        let origin = request_origin(&request);
        let slot = self.hasher.reserve_slot(origin.peer_address)?;
        let (token_hash, owner, password) = self.read_reset(request.into_inner(), &slot).await?;
        let familiar = account_at_address(&owner.email.to_lowercase(), &origin);
        let audit = AuditContext::for_user("ResetPassword", None, origin);

        let password = slot.hash(password).await?;
        let ended = self
            .mail_tokens
            .reset_password(
                &token_hash,
                &password,
                &familiar,
                &self.new_stream_key(),
                &audit,
                now(),
            )
            .await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::ResetPasswordResponse {}))
    }

    /// Reads the hash of the token, its user and the password. The token identifies the user, whose data the password must not contain.
    async fn read_reset(
        &self,
        message: pb::ResetPasswordRequest,
        slot: &HashSlot,
    ) -> Result<(Vec<u8>, User, Password)> {
        let pb::ResetPasswordRequest {
            token,
            new_password,
        } = message;
        let mut fields = Fields::default();
        let token_hash = MailToken::new(&token).hash();
        let Some(()) = fields.read("token", not_empty(&token)) else {
            fields.read("new_password", slot.choose(&new_password, &[]).await?);
            return Err(fields.into_error());
        };

        let kind = EmailKind::PasswordReset;
        let owner = self.mail_tokens.owner(kind, &token_hash, now()).await?;
        let about = [owner.email.as_str(), &owner.display_name];
        let password = read_field("new_password", slot.choose(&new_password, &about).await?)?;
        Ok((token_hash, owner, password))
    }

    pub(super) fn outbox(&self) -> Result<&Outbox> {
        self.outbox.as_ref().ok_or(Error::MailDisabled)
    }
}
