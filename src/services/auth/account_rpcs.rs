use tonic::{Request, Response};

use super::{
    accounts::{Accounts, AuthenticatedUser},
    messages::{ChangePassword, SignIn, SignUpRequest},
    session_issuer::{SessionIssuer, TokenPair},
};
use crate::{
    auth::{Caller, Revocations, Sealer},
    domain::{Name, Password, RequestOrigin, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{Users, VerifiedCredential},
    services::{fields::read_field, request_origin::request_origin},
};

/// The RPCs for accounts.
#[derive(Debug)]
pub(super) struct AccountRpcs {
    pub accounts: Accounts,
    pub session_issuer: SessionIssuer,
    pub users: Users,
    pub revocations: Revocations,
    pub sealer: Sealer,
}

impl AccountRpcs {
    pub async fn sign_up(
        &self,
        request: Request<pb::SignUpRequest>,
    ) -> Result<Response<pb::SignUpResponse>> {
        let origin = request_origin(&request);
        let message = request.into_inner();
        let slot = self.accounts.hasher.reserve_slot()?;
        let about = [message.email.as_str(), &message.display_name];
        let chosen = slot.choose(&message.password, &about).await?;
        let SignUpRequest {
            sign_up,
            idempotency,
        } = SignUpRequest::read(message, chosen, &self.sealer)?;

        let created = self.accounts.create(sign_up, idempotency, slot, &origin);
        let authenticated = created.await?;
        let tokens = self.begin(&authenticated, origin).await?;

        let (user, tokens) = (Some(authenticated.user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignUpResponse { user, tokens }))
    }

    pub async fn sign_in(
        &self,
        request: Request<pb::SignInRequest>,
    ) -> Result<Response<pb::SignInResponse>> {
        let origin = request_origin(&request);
        let SignIn { email, password } = request.into_inner().try_into()?;

        let mut authenticated = self
            .accounts
            .authenticate(&email, password, &origin)
            .await?;
        let mut tokens = self.begin(&authenticated, origin.clone()).await;
        if matches!(tokens, Err(Error::ConcurrentChange)) {
            // The hash was replaced in the meantime, perhaps by another of the same password.
            authenticated = self
                .accounts
                .authenticate_again(authenticated, &origin)
                .await?;
            tokens = self.begin(&authenticated, origin).await;
        }

        let (user, tokens) = (Some(authenticated.user.into()), Some(tokens?.into()));
        Ok(Response::new(pb::SignInResponse { user, tokens }))
    }

    pub async fn get_me(
        &self,
        request: Request<pb::GetMeRequest>,
    ) -> Result<Response<pb::GetMeResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;

        let user = self.users.get(user).await?;

        Ok(Response::new(pb::GetMeResponse {
            user: Some(user.into()),
        }))
    }

    pub async fn update_me(
        &self,
        request: Request<pb::UpdateMeRequest>,
    ) -> Result<Response<pb::UpdateMeResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let pb::UpdateMeRequest { display_name } = request.into_inner();
        let display_name = display_name.map(|name| read_field("display_name", Name::parse(&name)));

        let user = self
            .users
            .update(user, display_name.transpose()?.as_ref(), now())
            .await?;

        Ok(Response::new(pb::UpdateMeResponse {
            user: Some(user.into()),
        }))
    }

    pub async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>> {
        let caller = Caller::of(&request)?;
        let (user, session) = caller.session()?;
        let audit = caller.audit_context("ChangePassword", request_origin(&request));
        let user = self.users.get(user).await?;
        let message = request.into_inner();
        let slot = self.accounts.hasher.reserve_slot()?;
        let about = [user.email.as_str(), &user.display_name];
        let chosen = slot.choose(&message.new_password, &about).await?;
        let change = ChangePassword::read(message, chosen)?;

        let (session, tokens) = self.session_issuer.renew(session).await?;
        let changed = self
            .accounts
            .change_password(change, &session, slot, &audit);
        let ended = changed.await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::ChangePasswordResponse {
            tokens: Some(tokens.into()),
        }))
    }

    pub async fn delete_me(
        &self,
        request: Request<pb::DeleteMeRequest>,
    ) -> Result<Response<pb::DeleteMeResponse>> {
        let caller = Caller::of(&request)?;
        let session = caller.session()?;
        let audit = caller.audit_context("DeleteMe", request_origin(&request));
        let password = read_field("password", Password::parse(&request.get_ref().password))?;

        let ended = self.accounts.delete(session, password, &audit).await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::DeleteMeResponse {}))
    }

    /// Begins a session after a password has been verified.
    async fn begin(
        &self,
        authenticated: &AuthenticatedUser,
        origin: RequestOrigin,
    ) -> Result<TokenPair> {
        let credential = VerifiedCredential::Password {
            hash: &authenticated.hash,
            attempt: authenticated
                .attempt
                .as_ref()
                .map(|attempt| &attempt.counted),
        };
        let user = &authenticated.user;
        self.session_issuer
            .begin("SignIn", user, credential, origin)
            .await
    }
}
