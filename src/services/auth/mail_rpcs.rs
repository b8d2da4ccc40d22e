use tonic::{Request, Response};

use crate::{
    error::{Error, Result},
    proto::v1 as pb,
};

/// The RPCs that send messages, or take the tokens in them.
#[derive(Debug)]
pub(super) struct MailRpcs {}

impl MailRpcs {
    pub async fn request_email_verification(
        &self,
        _request: Request<pb::RequestEmailVerificationRequest>,
    ) -> Result<Response<pb::RequestEmailVerificationResponse>> {
        Err(Error::MailDisabled)
    }

    pub async fn verify_email(
        &self,
        _request: Request<pb::VerifyEmailRequest>,
    ) -> Result<Response<pb::VerifyEmailResponse>> {
        Err(Error::MailTokenInvalid)
    }

    pub async fn request_password_reset(
        &self,
        _request: Request<pb::RequestPasswordResetRequest>,
    ) -> Result<Response<pb::RequestPasswordResetResponse>> {
        Err(Error::MailDisabled)
    }

    pub async fn reset_password(
        &self,
        _request: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>> {
        Err(Error::MailTokenInvalid)
    }
}
