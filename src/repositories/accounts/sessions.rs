use super::{
    factor_rows::{self, VerifiedSecondFactor},
    failed_attempts, known_networks,
    notices::Notices,
    revocations,
    session_rows::{self, session_columns},
};
use crate::{
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{AuditContext, CreateTimeRange, Identity, Page, Session, SessionId, Time, UserId},
    error::{Error, Result},
    repositories::{
        CountedAttempt, IdempotencyKey, audit_log,
        idempotency::change_once,
        sql::{for_share, has_second_factor},
    },
};

/// Sessions of users.
#[derive(Debug, Clone)]
pub struct Sessions {
    database: Database,
    notices: Notices,
}

/// A credential of an account that was verified before the transaction.
#[derive(Debug, Clone, Copy)]
pub enum VerifiedCredential<'a> {
    /// The password.
    Password {
        /// The hash against which the password was checked.
        hash: &'a str,
        /// The counted attempt, unless the account is new.
        attempt: Option<&'a CountedAttempt>,
    },
    /// An identity at another issuer.
    Identity(&'a Identity),
    /// An assertion of a passkey, which is used up. It needs no second factor.
    Passkey(&'a VerifiedSecondFactor),
}

impl Sessions {
    /// Sessions in this database.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            notices: Notices::default(),
        }
    }

    /// Queues notices of changes.
    #[must_use]
    pub fn with_notices(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }

    /// Creates a session if the credential is still valid. Otherwise `ConcurrentChange`,
    /// because the change of the credential did not end this session. `AccountSuspended` if an
    /// operator has suspended the account. `SecondFactorRequired` if the account has a second
    /// factor and `second_factor` is `None`; `SecondFactorInvalid` or `PasskeyInvalid` if it was
    /// used before. The address becomes familiar, and the failed attempts are cleared.
    pub async fn create(
        &self,
        session: &Session,
        credential: VerifiedCredential<'_>,
        second_factor: Option<&VerifiedSecondFactor>,
        at_address: &[u8],
        audit: &AuditContext,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let (user, now) = (session.user_id, session.create_time);
                let owner = credential.require_valid(&mut tx, user).await?;
                if let VerifiedCredential::Passkey(verified) = credential {
                    factor_rows::use_up(&mut tx, user, Some(verified), now).await?;
                } else if owner.has_second_factor {
                    factor_rows::use_up(&mut tx, user, second_factor, now).await?;
                }
                session_rows::insert(&mut tx, session).await?;
                if let VerifiedCredential::Password {
                    attempt: Some(attempt),
                    ..
                } = credential
                {
                    failed_attempts::clear(&mut tx, attempt).await?;
                }
                failed_attempts::mark_familiar(&mut tx, at_address, session.create_time).await?;
                known_networks::remember(&mut tx, session, self.notices).await?;
                audit_log::record(&mut tx, audit, session.create_time).await?;
                tx.commit(()).await
            })
            .await
    }

    /// Records that the user of a session has proved again who they are: with a second factor, which
    /// is used up, or with the password. `AccessTokenInvalid` if the session has ended.
    pub async fn reauthenticate(
        &self,
        user_id: UserId,
        id: SessionId,
        second_factor: Option<&VerifiedSecondFactor>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Session> {
        self.database
            .transaction(|mut tx| async move {
                if second_factor.is_some() {
                    factor_rows::use_up(&mut tx, user_id, second_factor, now).await?;
                }
                let session: Option<Session> = fetch_optional!(
                    tx,
                    concat!(
                        "update sessions
                         set auth_time = $3
                         where user_id = $1 and id = $2 and revoke_time is null
                           and expire_time > $3
                         returning ",
                        session_columns!(),
                    ),
                    [user_id, id, now]
                )?;
                let session = session.ok_or(Error::AccessTokenInvalid)?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(session).await
            })
            .await
    }

    /// A session that has neither expired nor been ended.
    ///
    /// Read from the writing connection, so that the newest refresh token is never older
    /// than the one in an answer.
    pub async fn find(&self, id: SessionId, now: Time) -> Result<Option<Session>> {
        fetch_optional!(
            self.database.writer(),
            concat!(
                "select ",
                session_columns!(),
                " from sessions
                 where id = $1 and revoke_time is null and expire_time > $2",
            ),
            [id, now]
        )
    }

    /// Replaces refresh token `counter` by the next. `false` if another call did.
    pub async fn advance(&self, id: SessionId, counter: i64, now: Time) -> Result<bool> {
        let advanced = rows_affected!(
            self.database.writer(),
            "update sessions
             set refresh_counter = refresh_counter + 1, last_used_time = $3
             where id = $1 and refresh_counter = $2 and revoke_time is null",
            [id, counter, now]
        )?;
        Ok(advanced == 1)
    }

    /// A user's sessions that have neither expired nor been ended, newest first.
    pub async fn list(
        &self,
        user_id: UserId,
        used_since: Time,
        created: CreateTimeRange,
        page: Page,
        now: Time,
    ) -> Result<Vec<Session>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                session_columns!(),
                " from sessions
                 where user_id = $1 and id < $2 and revoke_time is null
                   and expire_time > $3 and last_used_time > $4
                   and create_time > $6 and create_time < $7
                 order by id desc
                 limit $5",
            ),
            [
                user_id,
                page.below,
                now,
                used_since,
                page.limit(),
                created.after,
                created.before
            ]
        )
    }

    /// Ends a session of a user, because of an error if there is one, which the audit log then
    /// records. `false` if the session has ended.
    pub async fn revoke(
        &self,
        user_id: UserId,
        id: SessionId,
        cause: Option<&Error>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<bool> {
        let result = cause.map_or(audit_log::RESULT_OK, Error::reason);
        self.database
            .transaction(|mut tx| async move {
                if !end_active(&mut tx, user_id, id, now).await? {
                    return tx.rollback(false).await;
                }
                audit_log::append(&mut tx, audit, result, now).await?;
                tx.commit(true).await
            })
            .await
    }

    /// Ends a session of a user for a call of that user. `NotFound` if it has ended; a repeated
    /// request changes nothing.
    pub async fn end(
        &self,
        user_id: UserId,
        id: SessionId,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        let end = self.database.transaction(|mut tx| async move {
            if !end_active(&mut tx, user_id, id, now).await? {
                return Err(Error::not_found("session", id));
            }
            if let Some(key) = idempotency {
                key.record(&mut tx, id.uuid(), now).await?;
            }
            audit_log::record(&mut tx, audit, now).await?;
            tx.commit(()).await
        });
        change_once(&self.database, idempotency, now, end, |_| async { Ok(()) }).await
    }

    /// Ends all sessions of a user except one; returns their ids.
    pub async fn revoke_all(
        &self,
        user_id: UserId,
        except: Option<SessionId>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<SessionId>> {
        self.database
            .transaction(|mut tx| async move {
                let ended = session_rows::revoke_all(&mut tx, user_id, except, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(ended).await
            })
            .await
    }

    /// Ends the sessions of all users; returns their number.
    pub async fn revoke_all_users(&self, audit: &AuditContext, now: Time) -> Result<usize> {
        self.database
            .transaction(|mut tx| async move {
                let ended: Vec<SessionId> = fetch_scalars!(
                    tx,
                    "update sessions
                     set revoke_time = $1
                     where revoke_time is null and expire_time > $1
                     returning id",
                    [now]
                )?;
                revocations::insert_sessions(&mut tx, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(ended.len()).await
            })
            .await
    }

    /// Deletes a batch of sessions that expired before a time.
    pub async fn purge_expired(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from sessions
             where id in (
                 select id
                 from sessions
                 where expire_time < $1
                 order by expire_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }

    /// Deletes a batch of sessions that were ended before a time.
    pub async fn purge_revoked(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from sessions
             where id in (
                 select id
                 from sessions
                 where revoke_time < $1
                 order by revoke_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

/// Ends a session, with its tokens. `false` if it has ended.
async fn end_active(
    tx: &mut Transaction,
    user_id: UserId,
    id: SessionId,
    now: Time,
) -> Result<bool> {
    let ended = rows_affected!(
        tx,
        "update sessions
         set revoke_time = $3
         where user_id = $1 and id = $2 and revoke_time is null and expire_time > $3",
        [user_id, id, now]
    )?;
    if ended == 0 {
        return Ok(false);
    }
    revocations::insert(tx, id.uuid(), now).await?;
    Ok(true)
}

/// The account of a valid credential.
struct CredentialOwner {
    has_second_factor: bool,
}

impl VerifiedCredential<'_> {
    /// Fails if the credential is no longer valid or the account is suspended. Neither changes
    /// until the transaction ends.
    async fn require_valid(
        &self,
        tx: &mut Transaction,
        user_id: UserId,
    ) -> Result<CredentialOwner> {
        let found: Option<(bool, bool)> = match self {
            Self::Password { hash, .. } => {
                let sql = for_share!(
                    tx,
                    [
                        "select suspend_time is not null, ",
                        has_second_factor!("users.id"),
                        " from users
                         where id = $1 and password_hash = $2"
                    ]
                );
                fetch_optional!(tx, sql, [user_id, *hash])?
            }
            Self::Identity(identity) => {
                let sql = for_share!(
                    tx,
                    [
                        "select u.suspend_time is not null, ",
                        has_second_factor!("u.id"),
                        " from identities i
                         join users u on u.id = i.user_id
                         where i.user_id = $1 and i.issuer = $2 and i.subject = $3"
                    ]
                );
                fetch_optional!(tx, sql, [user_id, &identity.issuer, &identity.subject])?
            }
            Self::Passkey(_) => {
                let sql = for_share!(
                    tx,
                    "select suspend_time is not null, true
                     from users
                     where id = $1 and delete_time is null"
                );
                fetch_optional!(tx, sql, [user_id])?
            }
        };
        match found {
            Some((false, has_second_factor)) => Ok(CredentialOwner { has_second_factor }),
            Some((true, _)) => Err(Error::AccountSuspended),
            None => Err(Error::ConcurrentChange),
        }
    }
}
