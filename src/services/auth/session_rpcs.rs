use prost::Message;
use tonic::{Request, Response};

use super::{
    factor_messages::read_session_proof,
    messages::{not_empty, session_message},
    service::AuthService,
};
use crate::{
    auth::{Caller, RefreshToken},
    domain::{Invalid, SessionId, now},
    error::{Error, Result},
    proto::v1 as pb,
    services::{
        fields::{Fields, read_field, read_idempotency},
        rpc::request_origin,
    },
};

/// The RPCs for sessions.
impl AuthService {
    pub(super) async fn refresh_tokens(
        &self,
        request: Request<pb::RefreshTokensRequest>,
    ) -> Result<Response<pb::RefreshTokensResponse>> {
        let origin = request_origin(&request);
        let pb::RefreshTokensRequest { refresh_token } = request.into_inner();
        read_field("refresh_token", not_empty(&refresh_token))?;
        let token = RefreshToken::parse(&refresh_token).ok_or(Error::RefreshTokenInvalid)?;

        let tokens = self.refresh_session(&token, origin).await?;

        let tokens = Some(tokens.into());
        Ok(Response::new(pb::RefreshTokensResponse { tokens }))
    }

    pub(super) async fn reauthenticate(
        &self,
        request: Request<pb::ReauthenticateRequest>,
    ) -> Result<Response<pb::ReauthenticateResponse>> {
        let caller = Caller::of(&request)?;
        let (user, session) = caller.session()?;
        let audit = caller.audit_context("Reauthenticate", request_origin(&request));
        let proof = read_session_proof(request.into_inner())?;

        let verified = self.verify_again((user, session), proof, &audit).await;
        let verified = self.record_code(verified, &audit).await?;
        let now = now();
        let session = self
            .sessions
            .reauthenticate(user, session, verified.as_ref(), &audit, now);
        let session = self.record_code(session.await, &audit).await?;
        let token = self.access_token(&session, now)?;

        Ok(Response::new(token.into()))
    }

    pub(super) async fn sign_out(
        &self,
        request: Request<pb::SignOutRequest>,
    ) -> Result<Response<pb::SignOutResponse>> {
        let caller = Caller::of(&request)?;
        let (user, session) = caller.session()?;
        let scope = pb::SignOutScope::try_from(request.get_ref().scope)
            .map_err(|_| Invalid::because("must be CURRENT, OTHERS or ALL"));
        let scope = read_field("scope", scope)?;
        let audit = caller.audit_context("SignOut", request_origin(&request));
        let now = now();

        let ended = match scope {
            pb::SignOutScope::Unspecified | pb::SignOutScope::Current => {
                let audit = audit.with_resource(session);
                self.sessions
                    .revoke(user, session, None, &audit, now)
                    .await?;
                vec![session]
            }
            pb::SignOutScope::Others => {
                self.sessions
                    .revoke_all(user, Some(session), &audit, now)
                    .await?
            }
            pb::SignOutScope::All => self.sessions.revoke_all(user, None, &audit, now).await?,
        };
        self.revocations
            .add(ended.into_iter().map(SessionId::uuid), now);

        Ok(Response::new(pb::SignOutResponse {}))
    }

    pub(super) async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>> {
        let (user, current) = Caller::of(&request)?.session()?;
        let message = request.into_inner();
        let (created, list) = self.page_tokens.read_created(
            &format!("sessions/{user}"),
            (message.created_after, message.created_before),
            message.page_size,
            &message.page_token,
        )?;
        let now = now();

        let timeouts = self.session_timeouts;
        let used_since = now - timeouts.idle_timeout;
        let mut sessions = self
            .sessions
            .list(user, used_since, created, list.page, now)
            .await?;

        let next_page_token = self
            .page_tokens
            .truncate(&list, &mut sessions, |session| session.id.uuid());
        let to_message = |session| session_message(session, current, timeouts);
        let sessions = sessions.into_iter().map(to_message).collect();
        Ok(Response::new(pb::ListSessionsResponse {
            sessions,
            next_page_token,
        }))
    }

    pub(super) async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<Response<pb::RevokeSessionResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let message = request.get_ref();
        let content = message.encode_to_vec();
        let (id, idempotency) = Fields::read_all(|fields| {
            let id = fields.read("session_id", SessionId::parse(&message.session_id));
            let (request_id, method) = (&message.request_id, "RevokeSession");
            let idempotency =
                read_idempotency(fields, user, request_id, method, &content, &self.sealer);
            id.zip(idempotency)
        })?;
        let audit = caller
            .audit_context("RevokeSession", request_origin(&request))
            .with_resource(id);

        self.sessions
            .end(user, id, idempotency.as_ref(), &audit, now())
            .await?;
        self.revocations.add([id.uuid()], now());

        Ok(Response::new(pb::RevokeSessionResponse {}))
    }
}
