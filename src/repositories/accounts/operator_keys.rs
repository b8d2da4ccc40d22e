use uuid::Uuid;

use super::{NewSecret, revocations};
use crate::{
    database::{Database, Transaction},
    domain::{
        ApiKeyId, AuditContext, Name, NodeId, OperatorKey, OperatorKeyState, Page, Scope, Scopes,
        Time,
    },
    error::{Error, Result},
    repositories::{Created, IdempotencyKey, audit_log, idempotency::create_once, sql::for_share},
};

/// Keys of media servers, relay workers and operators.
#[derive(Debug, Clone)]
pub struct OperatorKeys {
    database: Database,
}

/// An operator key to create.
#[derive(Debug, Clone)]
pub struct NewOperatorKey {
    /// The id.
    pub id: ApiKeyId,
    /// Its name.
    pub display_name: Name,
    /// What it allows.
    pub scopes: Scopes,
    /// The media server that it is bound to; `None` means all.
    pub node_id: Option<NodeId>,
    /// When it expires, if ever.
    pub expire_time: Option<Time>,
    /// Its secret. With the identity of the request, a repeated one creates no second key.
    pub secret: NewSecret,
}

/// The columns of [`OperatorKey`].
macro_rules! operator_key_columns {
    () => {
        "id, display_name, scopes, node_id, create_time, expire_time, last_used_time,
         revoke_time, creator_id"
    };
}

/// The condition that a key is in the state `$2`, if that is not null, at the time `$3`.
macro_rules! in_state {
    () => {
        "($2 is null or $2 = case
             when revoke_time is not null then 'revoked'
             when expire_time <= $3 then 'expired'
             else 'active' end)"
    };
}

impl OperatorKeys {
    /// Operator keys in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Creates a key, or returns the one that the same request created.
    ///
    /// The key of the audit context is its creator. `AccessTokenInvalid` if that key is revoked,
    /// which a replica may not know yet.
    pub async fn create(
        &self,
        key: &NewOperatorKey,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<OperatorKey>> {
        let insert = self.insert(key, audit, now);
        let get = |id: Uuid| self.get(id.into());
        create_once(&self.database, key.secret.idempotency(), now, insert, get).await
    }

    async fn insert(
        &self,
        key: &NewOperatorKey,
        audit: &AuditContext,
        now: Time,
    ) -> Result<OperatorKey> {
        self.database
            .transaction(|mut tx| async move {
                require_creator(&mut tx, audit).await?;
                key.secret.record(&mut tx, key.id, now).await?;
                let created: OperatorKey = fetch_one!(
                    tx,
                    concat!(
                        "insert into api_keys
                             (id, user_id, display_name, scopes, restricted, secret_hash,
                              create_time, expire_time, node_id, creator_id)
                         values ($1, null, $2, $3, false, $4, $5, $6, $7, $8)
                         returning ",
                        operator_key_columns!(),
                    ),
                    [
                        key.id,
                        key.display_name.as_str(),
                        key.scopes.to_string(),
                        &key.secret.hash,
                        now,
                        key.expire_time,
                        key.node_id.as_ref().map(NodeId::as_str),
                        audit.api_key_id
                    ]
                )?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(created).await
            })
            .await
    }

    /// A key, also an expired or revoked one.
    pub async fn get(&self, id: ApiKeyId) -> Result<OperatorKey> {
        fetch_optional!(
            self.database.writer(),
            concat!(
                "select ",
                operator_key_columns!(),
                " from api_keys where id = $1 and user_id is null",
            ),
            [id]
        )?
        .ok_or_else(|| Error::not_found("operator_key", id))
    }

    /// The sealed secret of the key that a request created; `None` for one whose secret was
    /// derived.
    pub async fn sealed_secret(&self, request: &IdempotencyKey) -> Result<Option<Vec<u8>>> {
        request.find_secret(&self.database).await
    }

    /// The hash of the secret of a key.
    pub async fn secret_hash(&self, id: ApiKeyId) -> Result<Vec<u8>> {
        fetch_optional_scalar!(
            self.database.writer(),
            "select secret_hash from api_keys where id = $1 and user_id is null",
            [id]
        )?
        .ok_or_else(|| Error::not_found("operator_key", id))
    }

    /// Whether there is a key with this scope that is neither expired nor revoked.
    pub async fn has_active(&self, scope: Scope, now: Time) -> Result<bool> {
        let scopes: Vec<Scopes> = fetch_scalars!(
            self.database.writer(),
            "select scopes
             from api_keys
             where user_id is null and revoke_time is null
               and (expire_time is null or expire_time > $1)",
            [now]
        )?;
        Ok(scopes.into_iter().any(|scopes| scopes.contains(scope)))
    }

    /// The keys in a state, and bound to a media server; newest first.
    pub async fn list(
        &self,
        state: Option<OperatorKeyState>,
        node_id: Option<&NodeId>,
        page: Page,
        now: Time,
    ) -> Result<Vec<OperatorKey>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                operator_key_columns!(),
                " from api_keys
                 where user_id is null and id < $1 and ",
                in_state!(),
                " and ($4 is null or node_id = $4)
                 order by id desc
                 limit $5",
            ),
            [
                page.below,
                state.map(OperatorKeyState::as_str),
                now,
                node_id.map(NodeId::as_str),
                page.limit()
            ]
        )
    }

    /// Revokes a key, and with `include_created` all that were created with it, directly or
    /// indirectly. Returns the key, and the ids of the keys that this revoked.
    pub async fn revoke(
        &self,
        id: ApiKeyId,
        include_created: bool,
        audit: &AuditContext,
        now: Time,
    ) -> Result<(OperatorKey, Vec<ApiKeyId>)> {
        let revoked = self
            .database
            .transaction(|mut tx| async move {
                let mut revoked: Vec<ApiKeyId> = fetch_scalars!(
                    tx,
                    "update api_keys
                     set revoke_time = $2
                     where id = $1 and user_id is null and revoke_time is null
                     returning id",
                    [id, now]
                )?;
                if include_created {
                    revoke_created(&mut tx, id, &mut revoked, now).await?;
                }
                if revoked.is_empty() {
                    return tx.rollback(revoked).await;
                }
                for id in &revoked {
                    revocations::insert(&mut tx, id.uuid(), now).await?;
                    let audit = audit.clone().with_resource(*id);
                    audit_log::record(&mut tx, &audit, now).await?;
                }
                tx.commit(revoked).await
            })
            .await?;
        Ok((self.get(id).await?, revoked))
    }
}

/// Revokes the keys that were created with a key, and with those, until there is none left: one
/// that was created concurrently is found in the next pass, and its creator is revoked by then.
async fn revoke_created(
    tx: &mut Transaction,
    id: ApiKeyId,
    revoked: &mut Vec<ApiKeyId>,
    now: Time,
) -> Result<()> {
    loop {
        let found: Vec<ApiKeyId> = fetch_scalars!(
            tx,
            "with recursive created (id) as (
                 select id
                 from api_keys
                 where creator_id = $1
                 union
                 select k.id
                 from api_keys k
                 join created c on k.creator_id = c.id)
             update api_keys
             set revoke_time = $2
             where id in (select id from created) and revoke_time is null
             returning id",
            [id, now]
        )?;
        if found.is_empty() {
            return Ok(());
        }
        revoked.extend(found);
    }
}

/// Fails if the operator key that acts is revoked. It cannot be revoked until the transaction
/// ends.
async fn require_creator(tx: &mut Transaction, audit: &AuditContext) -> Result<()> {
    let Some(creator) = audit.api_key_id else {
        return Ok(());
    };
    let sql = for_share!(
        tx,
        "select id from api_keys where id = $1 and revoke_time is null"
    );
    match exists!(tx, sql, [creator])? {
        true => Ok(()),
        false => Err(Error::AccessTokenInvalid),
    }
}

impl_from_row!(
    OperatorKey:
    id, display_name, scopes, node_id, create_time, expire_time, last_used_time, revoke_time,
    creator_id
);
