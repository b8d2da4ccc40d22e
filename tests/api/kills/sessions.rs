use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    caller::{Caller, PASSWORD},
    writer::Writer,
};

const EMAIL: &str = "grace@example.com";

/// Starts, refreshes and ends sessions of one account.
pub struct Sessions {
    anonymous: Caller,
    /// The user's first session.
    owner: Caller,
    sessions: Vec<Session>,
}

/// The acknowledged state of a session.
struct Session {
    tokens: pb::Tokens,
    is_ended: bool,
}

impl Sessions {
    pub async fn start(anonymous: &Caller) -> Self {
        let (_, tokens) = anonymous.sign_up(EMAIL).await;
        Self {
            anonymous: anonymous.clone(),
            owner: anonymous.with_token(&tokens.access_token),
            sessions: Vec::new(),
        }
    }

    /// A refresh, which is refused if the last one was lost.
    async fn refresh(&self, tokens: &pb::Tokens) -> pb::Tokens {
        let request = refresh_request(tokens);
        let answer = self
            .anonymous
            .write("RefreshTokens", async |mut client| {
                client.auth.refresh_tokens(request.clone()).await
            })
            .await;
        answer.tokens.unwrap()
    }

    async fn sign_out(&self, tokens: &pb::Tokens) {
        let session = self.anonymous.with_token(&tokens.access_token);
        session
            .write_once("SignOut", &["ACCESS_TOKEN_INVALID"], async |mut client| {
                client.auth.sign_out(pb::SignOutRequest::default()).await
            })
            .await;
    }

    /// Ends a session from the first one.
    async fn revoke(&self, tokens: &pb::Tokens) {
        let listing = self.anonymous.with_token(&tokens.access_token);
        let answer = listing
            .read("ListSessions", async |mut client| {
                let request = pb::ListSessionsRequest::default();
                client.auth.list_sessions(request).await
            })
            .await;
        let current = answer.sessions.into_iter().find(|session| session.current);
        let request = pb::RevokeSessionRequest {
            session_id: current.expect("the newest sessions come first").id,
            ..Default::default()
        };
        self.owner
            .write_once(
                "RevokeSession",
                &["RESOURCE_NOT_FOUND"],
                async |mut client| client.auth.revoke_session(request.clone()).await,
            )
            .await;
    }
}

impl Writer for Sessions {
    async fn write(&mut self, number: usize) {
        let (_, first) = self.anonymous.sign_in(EMAIL, PASSWORD).await;
        let second = self.refresh(&first).await;
        let tokens = self.refresh(&second).await;
        match number % 3 {
            0 => {}
            1 => self.sign_out(&tokens).await,
            _ => self.revoke(&tokens).await,
        }
        self.sessions.push(Session {
            tokens,
            is_ended: !number.is_multiple_of(3),
        });
    }

    async fn check(&self) {
        for session in &self.sessions {
            if !session.is_ended {
                self.refresh(&session.tokens).await;
                continue;
            }
            let request = refresh_request(&session.tokens);
            let refusal = self
                .anonymous
                .refusal("RefreshTokens", async |mut client| {
                    client.auth.refresh_tokens(request.clone()).await
                })
                .await;
            let expected = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
            assert_eq!(refusal.class(), expected);
            let ended = self.anonymous.with_token(&session.tokens.access_token);
            ended.assert_token_is_refused().await;
        }
    }
}

fn refresh_request(tokens: &pb::Tokens) -> pb::RefreshTokensRequest {
    pb::RefreshTokensRequest {
        refresh_token: tokens.refresh_token.clone(),
    }
}
