use tonic::{Request, Response};

use super::messages::not_empty;
use crate::{
    auth::{Caller, MailToken, PasswordHasher, Revocations, at_address},
    domain::{Act, Email, LetterKind, User, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{MailTokens, Outbox},
    services::{
        fields::{Fields, only},
        origin::origin_of,
    },
};

/// The RPCs that send messages, or take the tokens in them.
#[derive(Debug)]
pub(super) struct MailRpcs {
    /// Where messages are put; none if mail is off.
    pub outbox: Option<Outbox>,
    pub mail_tokens: MailTokens,
    pub hasher: PasswordHasher,
    pub revocations: Revocations,
}

impl MailRpcs {
    pub async fn request_email_verification(
        &self,
        request: Request<pb::RequestEmailVerificationRequest>,
    ) -> Result<Response<pb::RequestEmailVerificationResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;

        self.outbox()?.add_verification(user, now()).await?;

        Ok(Response::new(pb::RequestEmailVerificationResponse {}))
    }

    pub async fn verify_email(
        &self,
        request: Request<pb::VerifyEmailRequest>,
    ) -> Result<Response<pb::VerifyEmailResponse>> {
        let act = Act::of_user("VerifyEmail", None, origin_of(&request));
        let pb::VerifyEmailRequest { token } = request.into_inner();
        only("token", not_empty(&token))?;
        let hash = MailToken::present(&token).hash();

        self.mail_tokens.verify_email(&hash, act, now()).await?;

        Ok(Response::new(pb::VerifyEmailResponse {}))
    }

    pub async fn request_password_reset(
        &self,
        request: Request<pb::RequestPasswordResetRequest>,
    ) -> Result<Response<pb::RequestPasswordResetResponse>> {
        let pb::RequestPasswordResetRequest { email } = request.into_inner();
        let email = only("email", Email::parse(&email))?;

        self.outbox()?.add_reset(&email, now()).await?;

        Ok(Response::new(pb::RequestPasswordResetResponse {}))
    }

    pub async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>> {
        let origin = origin_of(&request);
        let pb::ResetPasswordRequest {
            token,
            new_password,
        } = request.into_inner();
        let filled = not_empty(&token);
        let hash = MailToken::present(&token).hash();
        let owner = match filled.is_ok() {
            true => Some(self.owner(&hash).await?),
            false => None,
        };
        let slot = self.hasher.admit()?;
        let about = owner
            .as_ref()
            .map(|user| [&*user.email, &*user.display_name]);
        let chosen = slot.choose(&new_password, about.as_ref().map_or(&[], |about| about));
        let mut fields = Fields::default();
        let filled = fields.read("token", filled);
        let password = fields.read("new_password", chosen.await?);
        let (Some(()), Some(password), Some(owner)) = (filled, password, owner) else {
            return Err(fields.refuse());
        };

        let password = slot.hash(password).await?;
        let familiar = at_address(&owner.email.to_lowercase(), &origin);
        let act = Act::of_user("ResetPassword", None, origin);
        let ended = self
            .mail_tokens
            .reset_password(&hash, &password, &familiar, act, now())
            .await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::ResetPasswordResponse {}))
    }

    async fn owner(&self, hash: &[u8]) -> Result<User> {
        let kind = LetterKind::PasswordReset;
        self.mail_tokens.owner(kind, hash, now()).await
    }

    fn outbox(&self) -> Result<&Outbox> {
        self.outbox.as_ref().ok_or(Error::MailDisabled)
    }
}
