//! The tokens in messages: kept as hashes, bound to the address to which they were sent.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{api_keys, failed_attempts, rows::UserRow, sessions};
use crate::{
    database::{Database, Timestamp, Transaction},
    domain::{Act, Letter, LetterKind, Origin, SessionId, Time, User, UserId},
    error::{Error, Result},
    repositories::audit_log,
};

/// How long nobody gets another message of the same kind.
const PAUSE: TimeDelta = TimeDelta::seconds(60);

/// The tokens in messages that were sent.
#[derive(Debug, Clone)]
pub struct MailTokens {
    database: Database,
}

impl MailTokens {
    /// Tokens in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Keeps a token for the owner of the address that a message goes to; gives the
    /// owner. Nobody gets one who has no account, has verified the address before,
    /// or got one in the last minute. Earlier ones go on working: else anybody
    /// could ask for messages to spoil those that came.
    pub async fn issue(&self, letter: &Letter, hash: &[u8], now: Time) -> Result<Option<User>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let Some(user) = find_user(&mut tx, &letter.email_key).await? else {
                    tx.rollback().await?;
                    return Ok(None);
                };
                let verified = letter.kind == LetterKind::EmailVerification && user.email_verified;
                if verified || has_one_since(&mut tx, user.id, letter.kind, now - PAUSE).await? {
                    tx.rollback().await?;
                    return Ok(None);
                }

                insert(&mut tx, user.id, letter, hash, now).await?;
                if letter.kind == LetterKind::PasswordReset && letter.attempts == 1 {
                    let act =
                        Act::of_user("RequestPasswordReset", Some(user.id), Origin::default());
                    audit_log::record(&mut tx, &act, now).await?;
                }
                tx.commit().await?;
                Ok(Some(user))
            })
            .await
    }

    /// Forgets a token whose message could not be sent.
    pub async fn withdraw(&self, hash: &[u8]) -> Result<()> {
        on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from mail_tokens where token_hash = $1",
        )
        .bind(hash)
        .execute(pool)
        .await
        .map(drop))?;
        Ok(())
    }

    /// Who got a token that works; it goes on working.
    pub async fn owner(&self, kind: LetterKind, hash: &[u8], now: Time) -> Result<User> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, UserRow>(
            "select users.id, users.email, users.email_verified, users.display_name,
                    users.create_time, users.update_time
             from mail_tokens
             join users on users.id = mail_tokens.user_id
                       and users.email_key = mail_tokens.email_key
             where token_hash = $1 and kind = $2 and expire_time > $3",
        )
        .bind(hash)
        .bind(kind.as_str())
        .bind(now)
        .fetch_optional(pool)
        .await)?
        .map(User::from)
        .ok_or(Error::MailTokenInvalid)
    }

    /// Spends a token: the address to which it was sent counts as verified.
    pub async fn verify_email(&self, hash: &[u8], act: Act, now: Time) -> Result<()> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let (user_id, email_key) =
                    spend(&mut tx, LetterKind::EmailVerification, hash, now).await?;
                let verified = on_engine!(&mut tx, tx => sqlx::query(
                    "update users
                     set email_verified = true, update_time = $3
                     where id = $1 and email_key = $2",
                )
                .bind(user_id)
                .bind(email_key)
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()))?;
                if verified == 0 {
                    return Err(Error::MailTokenInvalid);
                }
                delete_all(&mut tx, user_id, Some(LetterKind::EmailVerification)).await?;
                let act = act.clone().of(user_id);
                audit_log::record(&mut tx, &act, now).await?;
                tx.commit().await
            })
            .await
    }

    /// Spends a token: the account gets a new password, its address counts as
    /// verified, and its sessions end. If nobody had verified the address before,
    /// its API keys and other identities end too: who made them never showed that
    /// the address was theirs. The caller's address becomes familiar. Tells which sessions and keys ended.
    pub async fn reset_password(
        &self,
        hash: &[u8],
        password_hash: &str,
        at_address: &[u8],
        act: Act,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let (user_id, email_key) =
                    spend(&mut tx, LetterKind::PasswordReset, hash, now).await?;
                // First the sessions: who could make another key has none from then on.
                let sessions = sessions::end_all(&mut tx, user_id, None, now).await?;
                let mut ended = end_unproved(&mut tx, user_id, now).await?;
                ended.extend(sessions.into_iter().map(SessionId::uuid));
                let changed = on_engine!(&mut tx, tx => sqlx::query(
                    "update users
                     set password_hash = $3, email_verified = true, update_time = $4
                     where id = $1 and email_key = $2",
                )
                .bind(user_id)
                .bind(email_key)
                .bind(password_hash)
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()))?;
                if changed == 0 {
                    return Err(Error::MailTokenInvalid);
                }

                delete_all(&mut tx, user_id, None).await?;
                failed_attempts::welcome(&mut tx, at_address, now).await?;
                let act = act.clone().of(user_id);
                audit_log::record(&mut tx, &act, now).await?;
                tx.commit().await?;
                Ok(ended)
            })
            .await
    }

    /// Forgets tokens that have expired, at most `limit`; tells how many.
    pub async fn purge(&self, now: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from mail_tokens
             where token_hash in (
                 select token_hash from mail_tokens where expire_time < $1 limit $2)",
        )
        .bind(now)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}

async fn find_user(tx: &mut Transaction, email_key: &str) -> Result<Option<User>> {
    let found = on_engine!(tx, tx => sqlx::query_as::<_, UserRow>(
        "select id, email, email_verified, display_name, create_time, update_time
         from users
         where email_key = $1",
    )
    .bind(email_key)
    .fetch_optional(&mut **tx)
    .await)?;
    Ok(found.map(User::from))
}

async fn has_one_since(
    tx: &mut Transaction,
    user_id: UserId,
    kind: LetterKind,
    since: Time,
) -> Result<bool> {
    let found = on_engine!(tx, tx => sqlx::query_scalar::<_, Timestamp>(
        "select create_time
         from mail_tokens
         where user_id = $1 and kind = $2 and create_time > $3
         limit 1",
    )
    .bind(user_id)
    .bind(kind.as_str())
    .bind(since)
    .fetch_optional(&mut **tx)
    .await)?;
    Ok(found.is_some())
}

async fn insert(
    tx: &mut Transaction,
    user_id: UserId,
    letter: &Letter,
    hash: &[u8],
    now: Time,
) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "insert into mail_tokens (token_hash, user_id, kind, email_key, create_time, expire_time)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(hash)
    .bind(user_id)
    .bind(letter.kind.as_str())
    .bind(&letter.email_key)
    .bind(now)
    .bind(now + letter.kind.token_lifetime())
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

/// Takes a token away, so that nobody else can use it; gives whose it was, and
/// the address to which it was sent.
async fn spend(
    tx: &mut Transaction,
    kind: LetterKind,
    hash: &[u8],
    now: Time,
) -> Result<(UserId, String)> {
    on_engine!(tx, tx => sqlx::query_as::<_, (UserId, String)>(
        "delete from mail_tokens
         where token_hash = $1 and kind = $2 and expire_time > $3
         returning user_id, email_key",
    )
    .bind(hash)
    .bind(kind.as_str())
    .bind(now)
    .fetch_optional(&mut **tx)
    .await)?
    .ok_or(Error::MailTokenInvalid)
}

/// Takes a user's tokens away: those of one kind, or all.
pub(crate) async fn delete_all(
    tx: &mut Transaction,
    user_id: UserId,
    kind: Option<LetterKind>,
) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "delete from mail_tokens where user_id = $1 and ($2 is null or kind = $2)",
    )
    .bind(user_id)
    .bind(kind.map(LetterKind::as_str))
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

/// Ends the API keys and the identities of an account whose address nobody has
/// verified; tells which keys.
async fn end_unproved(tx: &mut Transaction, user_id: UserId, now: Time) -> Result<Vec<Uuid>> {
    let unproved = on_engine!(&mut *tx, tx => sqlx::query_scalar::<_, UserId>(
        "select id from users where id = $1 and not email_verified",
    )
    .bind(user_id)
    .fetch_optional(&mut **tx)
    .await)?;
    if unproved.is_none() {
        return Ok(Vec::new());
    }
    on_engine!(&mut *tx, tx => {
        sqlx::query("delete from identities where user_id = $1")
            .bind(user_id)
            .execute(&mut **tx)
            .await
            .map(drop)
    })?;
    api_keys::end_all(tx, user_id, now).await
}
