use tonic::{Request, Response};

use super::messages::not_empty;
use crate::{
    auth::{Caller, MailToken, PasswordHasher, Revocations},
    domain::{Act, Email, LetterKind, Password, User, now},
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
        let act = Act::of_user("ResetPassword", None, origin_of(&request));
        let reset = ResetPassword::read(request.into_inner())?;
        let hash = reset.token.hash();
        let owner = self
            .mail_tokens
            .owner(LetterKind::PasswordReset, &hash, now());
        let password = reset.password_of(&owner.await?)?;

        let password = self.hasher.admit()?.hash(password).await?;
        let ended = self
            .mail_tokens
            .reset_password(&hash, &password, act, now())
            .await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::ResetPasswordResponse {}))
    }

    fn outbox(&self) -> Result<&Outbox> {
        self.outbox.as_ref().ok_or(Error::MailDisabled)
    }
}

struct ResetPassword {
    token: MailToken,
    new_password: String,
}

impl ResetPassword {
    /// Reads what can be read before it is known whose password it is.
    fn read(message: pb::ResetPasswordRequest) -> Result<Self> {
        let pb::ResetPasswordRequest {
            token,
            new_password,
        } = message;
        let mut fields = Fields::default();
        let filled = fields.read("token", not_empty(&token));
        let strong = fields.read("new_password", Password::choose(&new_password, &[]));
        if filled.is_none() || strong.is_none() {
            return Err(fields.refuse());
        }
        Ok(Self {
            token: MailToken::present(&token),
            new_password,
        })
    }

    /// The password, if it is not easy to guess for who knows its owner.
    fn password_of(&self, owner: &User) -> Result<Password> {
        let about = [owner.email.as_str(), &owner.display_name];
        only("new_password", Password::choose(&self.new_password, &about))
    }
}
