use tonic::{Request, Response};

use super::{
    messages::{new_api_key, not_empty},
    service::AuthService,
};
use crate::{
    auth::{ApiKeySecret, Caller, Subject},
    domain::{ApiKeyId, now},
    error::{Error, Result},
    proto::v1 as pb,
    services::{
        fields::{read_field, read_id},
        rpc::request_origin,
    },
};

/// The RPCs for API keys, and for the public keys of access tokens.
impl AuthService {
    pub(super) async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let audit = caller.audit_context("CreateApiKey", request_origin(&request));
        let key = new_api_key(request.into_inner(), now())?;
        let id = ApiKeyId::generate();
        let secret = ApiKeySecret::generate(id);

        let (hash, audit) = (secret.hash(), audit.with_resource(id));
        let created = self
            .api_keys
            .create(id, user, &key, &hash, &audit, now())
            .await?;

        Ok(Response::new(pb::CreateApiKeyResponse {
            api_key: Some(created.into()),
            secret: secret.expose().to_owned(),
        }))
    }

    pub(super) async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let message = request.into_inner();
        let list = format!("api_keys/{user}");
        let list = self
            .page_tokens
            .read_single(list, message.page_size, &message.page_token)?;

        let keys = self.api_keys.list(user, list.page).await?;

        let (api_keys, next_page_token) = self.page_tokens.page(&list, keys, |key| key.id.uuid());
        Ok(Response::new(pb::ListApiKeysResponse {
            api_keys,
            next_page_token,
        }))
    }

    pub(super) async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let id = read_id("api_key_id", &request.get_ref().api_key_id)?;
        let audit = caller
            .audit_context("RevokeApiKey", request_origin(&request))
            .with_resource(id);

        self.api_keys.revoke(user, id, &audit, now()).await?;
        self.revocations.add([id.uuid()], now());

        Ok(Response::new(pb::RevokeApiKeyResponse {}))
    }

    pub(super) async fn exchange_api_key(
        &self,
        request: Request<pb::ExchangeApiKeyRequest>,
    ) -> Result<Response<pb::ExchangeApiKeyResponse>> {
        let pb::ExchangeApiKeyRequest { secret } = request.into_inner();
        read_field("secret", not_empty(&secret))?;
        let hash = ApiKeySecret::new(&secret).hash();

        let key = self
            .api_keys
            .exchange(&hash, now())
            .await?
            .ok_or(Error::ApiKeyInvalid)?;
        let subject = Subject::of_key(&key);
        let scopes = key.scopes;
        let caller = Caller { subject, scopes };
        let token = self.tokens.issue(&caller, key.expire_time, now())?;

        Ok(Response::new((token, scopes).into()))
    }

    pub(super) async fn get_jwks(
        &self,
        _: Request<pb::GetJwksRequest>,
    ) -> Result<Response<pb::GetJwksResponse>> {
        let keys = self.tokens.keys().public_keys();

        let keys = keys.iter().map(pb::JsonWebKey::from).collect();
        Ok(Response::new(pb::GetJwksResponse { keys }))
    }
}
