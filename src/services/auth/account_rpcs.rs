use tonic::{Request, Response};

use super::{
    accounts::{Accounts, Known},
    messages::{ChangePassword, SignIn, SignUpRequest},
    sign_ins::{SignIns, TokenPair},
};
use crate::{
    auth::{Caller, Revocations, Sealer},
    domain::{Name, Origin, Password, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{Proof, Users},
    services::{fields::only, request_origin::origin_of},
};

/// The RPCs of accounts.
#[derive(Debug)]
pub(super) struct AccountRpcs {
    pub accounts: Accounts,
    pub sign_ins: SignIns,
    pub users: Users,
    pub revocations: Revocations,
    pub sealer: Sealer,
}

impl AccountRpcs {
    pub async fn sign_up(
        &self,
        request: Request<pb::SignUpRequest>,
    ) -> Result<Response<pb::SignUpResponse>> {
        let origin = origin_of(&request);
        let message = request.into_inner();
        let slot = self.accounts.hasher.admit()?;
        let about = [message.email.as_str(), &message.display_name];
        let chosen = slot.choose(&message.password, &about).await?;
        let SignUpRequest {
            sign_up,
            idempotency,
        } = SignUpRequest::read(message, chosen, &self.sealer)?;

        let opened = self.accounts.open(sign_up, idempotency, slot, &origin);
        let known = opened.await?;
        let tokens = self.begin(&known, origin).await?;

        let (user, tokens) = (Some(known.user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignUpResponse { user, tokens }))
    }

    pub async fn sign_in(
        &self,
        request: Request<pb::SignInRequest>,
    ) -> Result<Response<pb::SignInResponse>> {
        let origin = origin_of(&request);
        let SignIn { email, password } = request.into_inner().try_into()?;

        let mut known = self.accounts.check(&email, password, &origin).await?;
        let mut tokens = self.begin(&known, origin.clone()).await;
        if matches!(tokens, Err(Error::ConcurrentChange)) {
            // The hash was replaced meanwhile, perhaps by another of the same password.
            known = self.accounts.check_again(known, &origin).await?;
            tokens = self.begin(&known, origin).await;
        }

        let (user, tokens) = (Some(known.user.into()), Some(tokens?.into()));
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
        let display_name = display_name.map(|name| only("display_name", Name::parse(&name)));

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
        let act = caller.act("ChangePassword", origin_of(&request));
        let user = self.users.get(user).await?;
        let message = request.into_inner();
        let slot = self.accounts.hasher.admit()?;
        let about = [user.email.as_str(), &user.display_name];
        let chosen = slot.choose(&message.new_password, &about).await?;
        let change = ChangePassword::read(message, chosen)?;

        let (session, tokens) = self.sign_ins.renew(session).await?;
        let changed = self.accounts.change(change, &session, slot, &act);
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
        let act = caller.act("DeleteMe", origin_of(&request));
        let password = only("password", Password::present(&request.get_ref().password))?;

        let ended = self.accounts.delete(session, password, &act).await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::DeleteMeResponse {}))
    }

    /// Begins a session of who knows the account's password.
    async fn begin(&self, known: &Known, origin: Origin) -> Result<TokenPair> {
        let proof = Proof::Password {
            hash: &known.hash,
            guess: known.attempt.as_ref().map(|attempt| &attempt.guess),
        };
        let user = &known.user;
        self.sign_ins.begin("SignIn", user, proof, origin).await
    }
}
