use tonic::{Request, Response};

use super::{
    messages::{CreateOperatorKey, key_message, read_list_keys, read_revoke_key},
    service::{OperatorService, operator_audit},
};
use crate::{
    auth::{ApiKeySecret, Caller},
    domain::{ApiKeyId, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{Created, IdempotencyKey},
};

/// The RPCs for operator keys.
impl OperatorService {
    pub(super) async fn create_operator_key(
        &self,
        request: Request<pb::CreateOperatorKeyRequest>,
    ) -> Result<Response<pb::CreateOperatorKeyResponse>> {
        let audit = operator_audit(&request, "CreateOperatorKey")?;
        let creator = Caller::of(&request)?.operator_key()?;
        let now = now();
        let CreateOperatorKey { key, secret } =
            CreateOperatorKey::read(request.into_inner(), creator, &self.sealer, now)?;

        let audit = audit.with_resource(key.id);
        let (created, secret) = match self.keys.create(&key, &audit, now).await? {
            Created::New(created) => (created, secret),
            Created::Existing(created) => {
                let request = key.secret.idempotency();
                let secret = self.secret_again(created.id, request).await?;
                (created, secret)
            }
        };

        Ok(Response::new(pb::CreateOperatorKeyResponse {
            operator_key: Some(key_message(created, now)),
            secret: secret.expose().to_owned(),
        }))
    }

    pub(super) async fn list_operator_keys(
        &self,
        request: Request<pb::ListOperatorKeysRequest>,
    ) -> Result<Response<pb::ListOperatorKeysResponse>> {
        let caller = Caller::of(&request)?.operator_key()?;
        let (state, node_id, list) =
            read_list_keys(request.into_inner(), caller, &self.page_tokens)?;
        let now = now();

        let mut keys = self
            .keys
            .list(state, node_id.as_ref(), list.page, now)
            .await?;

        let next_page_token = self
            .page_tokens
            .truncate(&list, &mut keys, |key| key.id.uuid());
        let operator_keys = keys.into_iter().map(|key| key_message(key, now)).collect();
        Ok(Response::new(pb::ListOperatorKeysResponse {
            operator_keys,
            next_page_token,
        }))
    }

    pub(super) async fn revoke_operator_key(
        &self,
        request: Request<pb::RevokeOperatorKeyRequest>,
    ) -> Result<Response<pb::RevokeOperatorKeyResponse>> {
        let audit = operator_audit(&request, "RevokeOperatorKey")?;
        let (id, include_created) = read_revoke_key(request.into_inner())?;
        let now = now();

        let (key, revoked) = self.keys.revoke(id, include_created, &audit, now).await?;
        self.revocations
            .add(revoked.iter().map(|id| id.uuid()), now);

        Ok(Response::new(pb::RevokeOperatorKeyResponse {
            operator_key: Some(key_message(key, now)),
            revoked_key_ids: revoked.iter().map(ToString::to_string).collect(),
        }))
    }

    /// The secret of a key that an earlier request with the same id created.
    async fn secret_again(
        &self,
        id: ApiKeyId,
        request: Option<&IdempotencyKey>,
    ) -> Result<ApiKeySecret> {
        let missing = || Error::internal(anyhow::anyhow!("the secret of {id} is not stored"));
        let request = request.ok_or_else(missing)?;
        if let Some(sealed) = self.keys.sealed_secret(request).await? {
            return ApiKeySecret::open(id, &sealed, &self.sealer);
        }
        let hash = self.keys.secret_hash(id).await?;
        let mut derived = ApiKeySecret::derived(id, request.request_id, &self.sealer);
        let secret = derived.find(|secret| secret.hash() == hash);
        secret.ok_or_else(missing)
    }
}
