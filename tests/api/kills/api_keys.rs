use sluice::proto::v1 as pb;
use tonic::Code;

use super::{caller::Caller, writer::Writer};

const SCOPE: &str = "projects:read";

/// Creates, exchanges and revokes API keys.
pub struct ApiKeys {
    anonymous: Caller,
    owner: Caller,
    keys: Vec<Key>,
}

/// The acknowledged state of an API key.
struct Key {
    secret: String,
    access_token: String,
    is_revoked: bool,
}

impl ApiKeys {
    pub fn new(anonymous: &Caller, owner: &Caller) -> Self {
        Self {
            anonymous: anonymous.clone(),
            owner: owner.clone(),
            keys: Vec::new(),
        }
    }

    async fn exchange(&self, secret: &str) -> String {
        let answer = self.anonymous.exchange_api_key(secret).await;
        assert_eq!(answer.scopes, [SCOPE]);
        answer.access_token
    }
}

impl Writer for ApiKeys {
    async fn write(&mut self, number: usize) {
        let request = pb::CreateApiKeyRequest {
            display_name: format!("Key {number}"),
            scopes: vec![SCOPE.to_owned()],
            ..Default::default()
        };
        // An interrupted try may create another key.
        let created = self
            .owner
            .write("CreateApiKey", async |mut client| {
                client.auth.create_api_key(request.clone()).await
            })
            .await;
        let access_token = self.exchange(&created.secret).await;
        let is_revoked = number % 2 == 1;
        if is_revoked {
            let request = pb::RevokeApiKeyRequest {
                api_key_id: created.api_key.unwrap().id,
                ..Default::default()
            };
            self.owner
                .write_once(
                    "RevokeApiKey",
                    &["RESOURCE_NOT_FOUND"],
                    async |mut client| client.auth.revoke_api_key(request.clone()).await,
                )
                .await;
        }
        self.keys.push(Key {
            secret: created.secret,
            access_token,
            is_revoked,
        });
    }

    async fn check(&self) {
        for key in &self.keys {
            if !key.is_revoked {
                self.exchange(&key.secret).await;
                continue;
            }
            let request = pb::ExchangeApiKeyRequest {
                secret: key.secret.clone(),
            };
            let refusal = self
                .anonymous
                .refusal("ExchangeApiKey", async |mut client| {
                    client.auth.exchange_api_key(request.clone()).await
                })
                .await;
            let expected = (Code::Unauthenticated, "API_KEY_INVALID");
            assert_eq!(refusal.class(), expected);
            let program = self.anonymous.with_token(&key.access_token);
            program.assert_token_is_refused().await;
        }
    }
}
