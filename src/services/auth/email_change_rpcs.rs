use tonic::{Request, Response};

use super::{
    messages::{email_change_message, not_empty},
    service::AuthService,
};
use crate::{
    auth::{Caller, MailToken},
    domain::{AuditContext, Email, now},
    error::Result,
    proto::v1 as pb,
    repositories::ConfirmedEmail,
    services::{fields::read_field, rpc::request_origin},
};

/// The RPCs that change an e-mail address.
impl AuthService {
    pub(super) async fn request_email_change(
        &self,
        request: Request<pb::RequestEmailChangeRequest>,
    ) -> Result<Response<pb::RequestEmailChangeResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        caller.require_recent_authentication(self.recent_authentication, now())?;
        let audit = caller.audit_context("RequestEmailChange", request_origin(&request));
        let pb::RequestEmailChangeRequest { new_email } = request.into_inner();
        let new_email = read_field("new_email", Email::parse(&new_email))?;
        let outbox = self.outbox()?;

        let (user, change) = self
            .email_changes
            .request(user, &new_email, &audit, now())
            .await?;
        outbox.wake_sender();

        let email_change = Some(email_change_message(change, &user));
        Ok(Response::new(pb::RequestEmailChangeResponse {
            email_change,
        }))
    }

    pub(super) async fn confirm_email_change(
        &self,
        request: Request<pb::ConfirmEmailChangeRequest>,
    ) -> Result<Response<pb::ConfirmEmailChangeResponse>> {
        let caller = Caller::of(&request)?;
        let session = caller.session()?;
        let audit = caller.audit_context("ConfirmEmailChange", request_origin(&request));
        let pb::ConfirmEmailChangeRequest { token } = request.into_inner();
        read_field("token", not_empty(&token))?;
        let hash = MailToken::new(&token).hash();

        let ConfirmedEmail {
            user,
            pending,
            ended,
        } = self
            .email_changes
            .confirm(session, &hash, &audit, now())
            .await?;
        self.revocations.add(ended, now());

        let email_change = pending.map(|change| email_change_message(change, &user));
        let user = Some(user.into());
        Ok(Response::new(pb::ConfirmEmailChangeResponse {
            user,
            email_change,
        }))
    }

    pub(super) async fn cancel_email_change(
        &self,
        request: Request<pb::CancelEmailChangeRequest>,
    ) -> Result<Response<pb::CancelEmailChangeResponse>> {
        let origin = request_origin(&request);
        let audit = AuditContext::for_user("CancelEmailChange", None, origin);
        let pb::CancelEmailChangeRequest { token } = request.into_inner();
        read_field("token", not_empty(&token))?;
        let hash = MailToken::new(&token).hash();

        self.email_changes.cancel(&hash, &audit, now()).await?;

        Ok(Response::new(pb::CancelEmailChangeResponse {}))
    }
}
