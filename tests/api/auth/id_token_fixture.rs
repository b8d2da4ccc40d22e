//! A server that trusts a test issuer, for the tests of id tokens.

use serde_json::{Value, json};
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status, transport::Channel};

use crate::harness::{Client, Engine, Issuer, IssuerKey, TestServer};

/// The error of every invalid token.
pub const INVALID: (Code, &str) = (Code::Unauthenticated, "ID_TOKEN_INVALID");

/// The error when the issuer is needed and cannot be reached.
pub const UNAVAILABLE: (Code, &str) = (Code::Unavailable, "ISSUER_UNAVAILABLE");

pub type SignInResult = Result<Response<pb::SignInWithIdTokenResponse>, Status>;

/// A server that trusts one issuer, which has one key.
pub struct IdTokenFixture {
    pub server: TestServer,
    pub issuer: Issuer,
    pub key: IssuerKey,
}

impl IdTokenFixture {
    /// With an issuer key on P-256.
    pub async fn start(engine: Engine) -> Self {
        Self::with_key(engine, IssuerKey::p256("k1")).await
    }

    /// With this issuer key.
    pub async fn with_key(engine: Engine, key: IssuerKey) -> Self {
        let issuer = Issuer::start(&[&key]).await;
        let setting = format!("--oidc-providers={}", issuer.setting());
        let server = TestServer::start_with(engine, &[&setting]).await;
        Self {
            server,
            issuer,
            key,
        }
    }

    /// SignInWithIdToken without a nonce.
    pub async fn sign_in(&self, claims: &Value) -> SignInResult {
        sign_in_with_id_token(&self.server.channel, &self.key.sign(claims), "").await
    }

    /// SignInWithIdToken that succeeds.
    pub async fn signed_in(&self, claims: &Value) -> pb::SignInWithIdTokenResponse {
        self.sign_in(claims).await.unwrap().into_inner()
    }

    /// The claims of a token about Ada with some claims replaced.
    pub fn claims_with(&self, changes: &[(&str, Value)]) -> Value {
        let mut claims = self.issuer.claims_with_email("ada", "ada@example.com");
        for (claim, value) in changes {
            claims[*claim] = value.clone();
        }
        claims
    }

    /// The claims of a token about a person whose address the issuer has not verified.
    pub fn unverified(&self, subject: &str, email: &str) -> Value {
        let mut claims = self.issuer.claims_with_email(subject, email);
        claims["email_verified"] = json!(false);
        claims
    }
}

/// SignInWithIdToken at provider `acme`.
pub async fn sign_in_with_id_token(channel: &Channel, id_token: &str, nonce: &str) -> SignInResult {
    let request = pb::SignInWithIdTokenRequest {
        provider: "acme".to_owned(),
        id_token: id_token.to_owned(),
        nonce: nonce.to_owned(),
        ..Default::default()
    };
    Client::anonymous(channel)
        .auth
        .sign_in_with_id_token(request)
        .await
}

/// A client with the tokens of a response.
pub fn signed_in_client(server: &TestServer, answer: &pb::SignInWithIdTokenResponse) -> Client {
    let tokens = answer.tokens.as_ref().unwrap();
    Client::with_token(&server.channel, &tokens.access_token)
}
