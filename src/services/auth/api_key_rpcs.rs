use prost::Message;
use tonic::{Request, Response};

use super::{
    messages::{new_api_key, not_empty, read_list_api_keys},
    service::AuthService,
};
use crate::{
    auth::{ApiKeySecret, Caller, Subject},
    domain::{ApiKeyId, Tenant, UserId, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{IdempotencyKey, ListedKeys, NewSecret},
    services::{
        fields::{Fields, read_field, read_id, read_idempotency},
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
        caller.require_recent_authentication(self.recent_authentication, now())?;
        let audit = caller.audit_context("CreateApiKey", request_origin(&request));
        let message = request.into_inner();
        let tenant = Tenant::of_user(user);
        let (tenant, key, idempotency) = new_api_key(message, tenant, &self.sealer, now())?;
        if let Some(repeated) = self.repeated_api_key(user, idempotency.as_ref()).await? {
            return Ok(Response::new(repeated));
        }
        let id = ApiKeyId::generate();
        let secret = ApiKeySecret::generate(id);

        let audit = audit.with_resource(id);
        let new_secret = NewSecret::new(id, &secret, idempotency.clone(), &self.sealer);
        let created = self
            .api_keys
            .create(id, tenant, &key, &new_secret, &audit, now())
            .await;
        if let Err(Error::ConcurrentChange) = created
            && let Some(repeated) = self.repeated_api_key(user, idempotency.as_ref()).await?
        {
            return Ok(Response::new(repeated));
        }

        Ok(Response::new(pb::CreateApiKeyResponse {
            api_key: Some(created?.into()),
            secret: secret.expose().to_owned(),
        }))
    }

    /// The response that the same request had before, if it is a repetition.
    async fn repeated_api_key(
        &self,
        user: UserId,
        idempotency: Option<&IdempotencyKey>,
    ) -> Result<Option<pb::CreateApiKeyResponse>> {
        let Some(idempotency) = idempotency else {
            return Ok(None);
        };
        let found = self.api_keys.find_created(user, idempotency, now()).await?;
        let Some((key, sealed)) = found else {
            return Ok(None);
        };
        let secret = ApiKeySecret::open(key.id, &sealed, &self.sealer)?;
        Ok(Some(pb::CreateApiKeyResponse {
            api_key: Some(key.into()),
            secret: secret.expose().to_owned(),
        }))
    }

    pub(super) async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let message = request.into_inner();
        let (tenant, created, list) = read_list_api_keys(&message, user, &self.page_tokens)?;

        let listed = match tenant.is_personal() {
            true => ListedKeys::Personal(user),
            false => {
                self.projects.require_organization(tenant).await?;
                ListedKeys::OfOrganization(tenant.organization, user)
            }
        };
        let keys = self.api_keys.list(listed, created, list.page).await?;

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
        let message = request.get_ref();
        let content = message.encode_to_vec();
        let (id, idempotency) = Fields::read_all(|fields| {
            let id = fields.read("api_key_id", ApiKeyId::parse(&message.api_key_id));
            let (request_id, method) = (&message.request_id, "RevokeApiKey");
            let idempotency =
                read_idempotency(fields, user, request_id, method, &content, &self.sealer);
            id.zip(idempotency)
        })?;
        let audit = caller
            .audit_context("RevokeApiKey", request_origin(&request))
            .with_resource(id);

        self.api_keys
            .revoke(user, id, idempotency.as_ref(), &audit, now())
            .await?;
        self.revocations.add([id.uuid()], now());

        Ok(Response::new(pb::RevokeApiKeyResponse {}))
    }

    pub(super) async fn adopt_api_key(
        &self,
        request: Request<pb::AdoptApiKeyRequest>,
    ) -> Result<Response<pb::AdoptApiKeyResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        caller.require_recent_authentication(self.recent_authentication, now())?;
        let id: ApiKeyId = read_id("api_key_id", &request.get_ref().api_key_id)?;
        let audit = caller.audit_context("AdoptApiKey", request_origin(&request));

        let audit = audit.with_resource(id);
        let key = self.api_keys.adopt(user, id, &audit, now()).await?;

        let api_key = Some(key.into());
        Ok(Response::new(pb::AdoptApiKeyResponse { api_key }))
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
