use prost::Message;
use tonic::{Request, Response};

use super::{
    accounts::AuthenticatedUser,
    factor_messages::{FactorResponse, read_optional_factor},
    messages::{ChangePassword, SignIn, SignUp, email_change_message, not_empty},
    service::AuthService,
    sessions::TokenPair,
};
use crate::{
    auth::{Caller, IdTokenVerifier, IdTokens},
    domain::{Invalid, Name, Password, RequestOrigin, Secret, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{SignedIn, VerifiedCredential},
    services::{
        fields::{Fields, read_field, read_idempotency},
        rpc::request_origin,
    },
};

/// The longest id token, in bytes.
const MAX_ID_TOKEN_BYTES: usize = 16 * 1024;

/// The RPCs for signing in, and for accounts and their audit log.
impl AuthService {
    pub(super) async fn sign_up(
        &self,
        request: Request<pb::SignUpRequest>,
    ) -> Result<Response<pb::SignUpResponse>> {
        let origin = request_origin(&request);
        let message = request.into_inner();
        let slot = self.hasher.reserve_slot(origin.peer_address)?;
        let about = [message.email.as_str(), &message.display_name];
        let chosen = slot.choose(&message.password, &about).await?;
        let sign_up = SignUp::read(message, chosen, &self.sealer)?;

        let authenticated = self.create_account(sign_up, slot, &origin).await?;
        let tokens = self.begin_password_session(&authenticated, None, origin);
        let tokens = tokens.await?;

        let (user, tokens) = (Some(authenticated.user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignUpResponse { user, tokens }))
    }

    pub(super) async fn sign_in(
        &self,
        request: Request<pb::SignInRequest>,
    ) -> Result<Response<pb::SignInResponse>> {
        let origin = request_origin(&request);
        let SignIn {
            email,
            password,
            factor,
        } = SignIn::read(request.into_inner())?;

        let mut authenticated = self.authenticate(&email, password, &origin).await?;
        let mut tokens = self
            .begin_password_session(&authenticated, factor.as_ref(), origin.clone())
            .await;
        if matches!(tokens, Err(Error::ConcurrentChange)) {
            // The hash was replaced in the meantime, perhaps by another of the same password.
            authenticated = self.authenticate_again(authenticated, &origin).await?;
            tokens = self
                .begin_password_session(&authenticated, factor.as_ref(), origin)
                .await;
        }

        let (user, tokens) = (Some(authenticated.user.into()), Some(tokens?.into()));
        Ok(Response::new(pb::SignInResponse { user, tokens }))
    }

    pub(super) async fn sign_in_with_id_token(
        &self,
        request: Request<pb::SignInWithIdTokenRequest>,
    ) -> Result<Response<pb::SignInWithIdTokenResponse>> {
        let origin = request_origin(&request);
        let SignInWithIdToken {
            verifier,
            id_token,
            nonce,
            factor,
        } = SignInWithIdToken::read(request.into_inner(), &self.id_tokens)?;

        let identity = verifier.verify(&id_token, &nonce, now()).await?;
        let SignedIn {
            user,
            created,
            ended,
        } = self
            .identities
            .sign_in(&identity, &self.new_stream_key(), &origin, now())
            .await?;
        self.revocations.add(ended, now());
        let credential = VerifiedCredential::Identity(&identity);
        let tokens = self
            .begin_session(
                "SignInWithIdToken",
                &user,
                credential,
                factor.as_ref(),
                origin,
            )
            .await?;

        let (user, tokens) = (Some(user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignInWithIdTokenResponse {
            user,
            tokens,
            created,
        }))
    }

    pub(super) async fn get_me(
        &self,
        request: Request<pb::GetMeRequest>,
    ) -> Result<Response<pb::GetMeResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;

        let (user, change) = self.users.get_with_email_change(user, now()).await?;

        let email_change = change.map(|change| email_change_message(change, &user));
        let user = Some(user.into());
        Ok(Response::new(pb::GetMeResponse { user, email_change }))
    }

    pub(super) async fn update_me(
        &self,
        request: Request<pb::UpdateMeRequest>,
    ) -> Result<Response<pb::UpdateMeResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let message = request.into_inner();
        let content = message.encode_to_vec();
        let pb::UpdateMeRequest {
            display_name,
            request_id,
        } = message;
        let (display_name, idempotency) = Fields::read_all(|fields| {
            let display_name = display_name.map(|name| Name::parse(&name));
            let display_name = fields.read_optional("display_name", display_name);
            let (id, method) = (&request_id, "UpdateMe");
            let idempotency = read_idempotency(fields, user, id, method, &content, &self.sealer);
            display_name.zip(idempotency)
        })?;

        let user = self
            .users
            .update(user, display_name.as_ref(), idempotency.as_ref(), now())
            .await?;

        let user = Some(user.into());
        Ok(Response::new(pb::UpdateMeResponse { user }))
    }

    pub(super) async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>> {
        let caller = Caller::of(&request)?;
        let (user, session) = caller.session()?;
        let audit = caller.audit_context("ChangePassword", request_origin(&request));
        let user = self.users.get(user).await?;
        self.require_recent_second_factor(&caller).await?;
        let message = request.into_inner();
        let slot = self.hasher.reserve_slot(audit.origin.peer_address)?;
        let about = [user.email.as_str(), &user.display_name];
        let chosen = slot.choose(&message.new_password, &about).await?;
        let change = ChangePassword::read(message, chosen)?;

        let (session, tokens) = self.renew_session(session).await?;
        let ended = self
            .replace_password(change, &session, slot, &audit)
            .await?;
        self.revocations.add(ended, now());

        let tokens = Some(tokens.into());
        Ok(Response::new(pb::ChangePasswordResponse { tokens }))
    }

    pub(super) async fn delete_me(
        &self,
        request: Request<pb::DeleteMeRequest>,
    ) -> Result<Response<pb::DeleteMeResponse>> {
        let caller = Caller::of(&request)?;
        let session = caller.session()?;
        let audit = caller.audit_context("DeleteMe", request_origin(&request));
        let password = read_field("password", Password::parse(&request.get_ref().password))?;
        self.require_recent_second_factor(&caller).await?;

        let ended = self.delete_account(session, password, &audit).await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::DeleteMeResponse {}))
    }

    pub(super) async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let message = request.into_inner();
        let (created, list) = self.page_tokens.read_created(
            &format!("audit_events/{user}"),
            (message.created_after, message.created_before),
            message.page_size,
            &message.page_token,
        )?;

        let events = self.audit_log.list(user, created, list.page).await?;

        let (audit_events, next_page_token) =
            self.page_tokens.page(&list, events, |row| row.id.uuid());
        Ok(Response::new(pb::ListAuditEventsResponse {
            audit_events,
            next_page_token,
        }))
    }

    /// Begins a session after a password has been verified.
    async fn begin_password_session(
        &self,
        authenticated: &AuthenticatedUser,
        factor: Option<&FactorResponse>,
        origin: RequestOrigin,
    ) -> Result<TokenPair> {
        let AuthenticatedUser {
            user,
            hash,
            attempt,
        } = authenticated;
        let attempt = attempt.as_ref().map(|attempt| &attempt.counted);
        let credential = VerifiedCredential::Password { hash, attempt };
        self.begin_session("SignIn", user, credential, factor, origin)
            .await
    }
}

struct SignInWithIdToken {
    verifier: IdTokenVerifier,
    id_token: Secret,
    nonce: Secret,
    factor: Option<FactorResponse>,
}

impl SignInWithIdToken {
    fn read(message: pb::SignInWithIdTokenRequest, id_tokens: &IdTokens) -> Result<Self> {
        let pb::SignInWithIdTokenRequest {
            provider,
            id_token,
            nonce,
            second_factor_code: code,
            passkey_assertion: assertion,
        } = message;
        let (id_token, nonce) = (Secret::new(id_token), Secret::new(nonce));
        Fields::read_all(|fields| {
            let verifier = fields.read("provider", id_tokens.verifier(&provider));
            let factor = read_optional_factor(fields, &code, &assertion);
            fields.read("id_token", check_length(&id_token))?;
            Some(Self {
                verifier: verifier?,
                id_token,
                nonce,
                factor: factor?,
            })
        })
    }
}

fn check_length(id_token: &Secret) -> Result<(), Invalid> {
    match id_token.expose().len() {
        0..=MAX_ID_TOKEN_BYTES => not_empty(id_token.expose()),
        _ => Err(Invalid::because("must have at most 16 KiB")),
    }
}
