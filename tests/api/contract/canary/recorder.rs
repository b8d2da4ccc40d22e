//! Calls RPCs with secrets, and records both.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use sluice::proto::v1 as pb;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    contract::raw_rpc::{bearer, call},
    harness::TestDatabase,
};

/// A text that occurs nowhere else.
pub fn canary(what: &str) -> String {
    format!("canary-{what}-{}", Uuid::now_v7().simple())
}

/// The calls of a test, their secrets, and the errors in which these must not occur.
pub struct Recorder {
    pub channel: Channel,
    pub secrets: Vec<(String, Vec<u8>)>,
    pub called: BTreeSet<String>,
    /// Everything that callers saw of errors.
    pub refusals: Vec<u8>,
}

/// The expected outcome of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeds,
    Fails,
}
use Outcome::{Fails, Succeeds};

/// What the deleting RPCs need.
pub struct Deletable {
    token: String,
    project_id: String,
    password: String,
}

impl Recorder {
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            secrets: Vec::new(),
            called: BTreeSet::new(),
            refusals: Vec::new(),
        }
    }

    /// Calls every RPC except those that delete the account and what belongs to it.
    pub async fn all_but_deletions(
        &mut self,
        database: &TestDatabase,
        operators_key: String,
    ) -> Deletable {
        let (token, password) = self.public_rpcs().await;
        let password = self.account_rpcs(&token, password).await;
        let reset = database.mail("ada@example.com", "eset", 1).await;
        self.secret("token of a message that waits", &reset.token());
        let verification = database.mail("ada@example.com", "erify", 1).await;
        self.verify(&token, &verification).await;
        self.email_change_rpcs(&token, database).await;
        self.reauthenticate(&token, &password).await;
        self.second_factor_rpcs(&token, &password).await;
        self.api_key_rpcs(&token).await;
        let media = self.exchange(operators_key).await;
        let (project_id, stream_key) = self.project_rpcs(&token).await;
        self.stream_rpcs(&token, &media, &project_id, &stream_key)
            .await;
        self.webhook_rpcs(database, &token, &project_id).await;
        self.usage_rpcs(&token).await;
        self.organization_rpcs(database, &token, &project_id).await;
        self.operator_rpcs(&media).await;
        Deletable {
            token,
            project_id,
            password,
        }
    }

    /// Calls the other RPCs.
    pub async fn deletions(&mut self, left: Deletable) {
        let Deletable {
            token,
            project_id,
            password,
        } = left;
        self.deleting_rpcs(&token, project_id, password).await;
    }

    /// Records a secret to search for, and its parts.
    pub fn secret(&mut self, name: &str, secret: &str) -> String {
        let mut record = |name: String, bytes: &[u8]| self.secrets.push((name, bytes.to_vec()));
        record(name.to_owned(), secret.as_bytes());
        // Only the last part of a token is secret.
        if let Some((_, last)) = secret.rsplit_once(['.', '_'])
            && last.len() >= 20
        {
            record(format!("last part of the {name}"), last.as_bytes());
            if let Ok(bytes) = URL_SAFE_NO_PAD.decode(last) {
                record(format!("bytes of the {name}"), &bytes);
            }
        }
        secret.to_owned()
    }

    pub fn new_secret(&mut self, name: &str) -> String {
        let what = name.replace(|letter: char| !letter.is_alphanumeric(), "");
        self.secret(name, &canary(&what))
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
                assert!(outcome != Fails, "{rpc} should fail");
                A::decode(answer.into_inner().as_slice()).unwrap()
            }
            Err(status) => {
                assert!(outcome != Succeeds, "{rpc}: {status:?}");
                self.refusals.extend(format!("{status:?}").into_bytes());
                self.refusals.extend(status.details());
                assert!(status.get_error_details().error_info().is_some(), "{rpc}");
                assert_ne!(status.code(), Code::Internal, "{rpc}: {status:?}");
                A::default()
            }
        }
    }

    /// Records the tokens of a sign-in, and returns them.
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
            ..Default::default()
        };
        let answer: pb::SignInResponse =
            self.call(Succeeds, "AuthService/SignIn", "", request).await;
        self.tokens(answer.tokens)
    }
}
