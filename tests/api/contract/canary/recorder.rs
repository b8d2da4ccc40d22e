//! A run that calls RPCs with secrets and remembers both.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use sluice::proto::v1 as pb;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::contract::raw_rpc::{bearer, call};

/// A text that nothing else contains.
pub fn marked(what: &str) -> String {
    format!("canary-{what}-{}", Uuid::now_v7().simple())
}

/// A run of the program, and what there is to find and to search.
pub struct Run {
    pub channel: Channel,
    pub secrets: Vec<(String, Vec<u8>)>,
    pub called: BTreeSet<String>,
    /// All that callers were told when they were refused.
    pub refusals: Vec<u8>,
}

/// What a call is to end with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Right,
    Wrong,
}
use Outcome::{Right, Wrong};

impl Run {
    /// Keeps a secret to look for, and its parts.
    pub fn secret(&mut self, name: &str, secret: &str) -> String {
        let mut keep = |name: String, bytes: &[u8]| self.secrets.push((name, bytes.to_vec()));
        keep(name.to_owned(), secret.as_bytes());
        // What is secret of a token is its last part.
        if let Some((_, last)) = secret.rsplit_once(['.', '_'])
            && last.len() >= 20
        {
            keep(format!("last part of the {name}"), last.as_bytes());
            if let Ok(bytes) = URL_SAFE_NO_PAD.decode(last) {
                keep(format!("bytes of the {name}"), &bytes);
            }
        }
        secret.to_owned()
    }

    pub fn new_secret(&mut self, name: &str) -> String {
        let what = name.replace(|letter: char| !letter.is_alphanumeric(), "");
        self.secret(name, &marked(&what))
    }

    pub async fn call<A: Message + Default>(
        &mut self,
        outcome: Outcome,
        rpc: &str,
        token: &str,
        request: impl Message,
    ) -> A {
        let path = format!("/sluice.v1.{rpc}");
        let authorization = match token {
            "" => vec![],
            token => vec![bearer(token)],
        };
        let answer = call(
            &self.channel,
            &path,
            &authorization,
            request.encode_to_vec(),
        )
        .await;
        self.called.insert(path);
        match answer {
            Ok(answer) => {
                assert!(outcome != Wrong, "{rpc} is refused");
                A::decode(answer.into_inner().as_slice()).unwrap()
            }
            Err(status) => {
                assert!(outcome != Right, "{rpc}: {status:?}");
                self.refusals.extend(format!("{status:?}").into_bytes());
                self.refusals.extend(status.details());
                assert!(status.get_error_details().error_info().is_some(), "{rpc}");
                assert_ne!(status.code(), Code::Internal, "{rpc}: {status:?}");
                A::default()
            }
        }
    }

    /// Keeps the tokens of a sign-in, and gives them.
    pub fn tokens(&mut self, tokens: Option<pb::Tokens>) -> (String, String) {
        let tokens = tokens.unwrap();
        self.secret("access token", &tokens.access_token);
        self.secret("refresh token", &tokens.refresh_token);
        (tokens.access_token, tokens.refresh_token)
    }

    pub async fn sign_in(&mut self, password: &str) -> (String, String) {
        let request = pb::SignInRequest {
            email: "ada@example.com".to_owned(),
            password: password.to_owned(),
        };
        let answer: pb::SignInResponse = self.call(Right, "AuthService/SignIn", "", request).await;
        self.tokens(answer.tokens)
    }
}
