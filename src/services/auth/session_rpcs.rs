use tonic::{Request, Response};

use super::{
    messages::{not_empty, session_message},
    sign_ins::SignIns,
};
use crate::{
    auth::{Caller, RefreshToken, Revocations},
    domain::{Invalid, SessionId, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::Sessions,
    services::{fields::only, paging::Pages, request_origin::origin_of},
};

/// The RPCs of sessions.
#[derive(Debug)]
pub(super) struct SessionRpcs {
    pub sign_ins: SignIns,
    pub sessions: Sessions,
    pub revocations: Revocations,
    pub pages: Pages,
}

impl SessionRpcs {
    pub async fn refresh_tokens(
        &self,
        request: Request<pb::RefreshTokensRequest>,
    ) -> Result<Response<pb::RefreshTokensResponse>> {
        let origin = origin_of(&request);
        let pb::RefreshTokensRequest { refresh_token } = request.into_inner();
        only("refresh_token", not_empty(&refresh_token))?;
        let token = RefreshToken::present(&refresh_token).ok_or(Error::RefreshTokenInvalid)?;

        let tokens = self.sign_ins.refresh(&token, origin).await?;

        Ok(Response::new(pb::RefreshTokensResponse {
            tokens: Some(tokens.into()),
        }))
    }

    pub async fn sign_out(
        &self,
        request: Request<pb::SignOutRequest>,
    ) -> Result<Response<pb::SignOutResponse>> {
        let caller = Caller::of(&request)?;
        let (user, session) = caller.session()?;
        let scope = pb::SignOutScope::try_from(request.get_ref().scope)
            .map_err(|_| Invalid::because("must be CURRENT, OTHERS or ALL"));
        let scope = only("scope", scope)?;
        let act = caller.act("SignOut", origin_of(&request));
        let now = now();

        let ended = match scope {
            pb::SignOutScope::Unspecified | pb::SignOutScope::Current => {
                self.sessions
                    .revoke(user, session, &act.on(session), now)
                    .await?;
                vec![session]
            }
            pb::SignOutScope::Others => {
                self.sessions
                    .revoke_all(user, Some(session), &act, now)
                    .await?
            }
            pb::SignOutScope::All => self.sessions.revoke_all(user, None, &act, now).await?,
        };
        self.revocations
            .add(ended.into_iter().map(SessionId::uuid), now);

        Ok(Response::new(pb::SignOutResponse {}))
    }

    pub async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>> {
        let (user, current) = Caller::of(&request)?.session()?;
        let pb::ListSessionsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let list = format!("sessions/{user}");
        let list = self.pages.read_alone(list, page_size, &page_token)?;
        let now = now();

        let times = self.sign_ins.times;
        let used_since = now - times.idle_timeout;
        let mut sessions = self.sessions.list(user, used_since, list.page, now).await?;

        let next_page_token = self
            .pages
            .cut(&list, &mut sessions, |session| session.id.uuid());
        let sessions = sessions
            .into_iter()
            .map(|session| session_message(session, current, times))
            .collect();
        Ok(Response::new(pb::ListSessionsResponse {
            sessions,
            next_page_token,
        }))
    }

    pub async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<Response<pb::RevokeSessionResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let id = only(
            "session_id",
            SessionId::parse(&request.get_ref().session_id),
        )?;
        let act = caller.act("RevokeSession", origin_of(&request)).on(id);

        if !self.sessions.revoke(user, id, &act, now()).await? {
            return Err(not_found(id));
        }
        self.revocations.add([id.uuid()], now());

        Ok(Response::new(pb::RevokeSessionResponse {}))
    }
}

fn not_found(id: SessionId) -> Error {
    Error::NotFound {
        noun: "session",
        id: id.to_string(),
    }
}
