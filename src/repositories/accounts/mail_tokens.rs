//! The tokens in e-mail messages: stored as hashes, and bound to the recipient's address.

use uuid::Uuid;

use super::{
    api_keys, email_change_rows, factor_rows, failed_attempts,
    mail_recipients::{IssuedToken, Recipient, delay, recipient},
    notices::Notices,
    session_rows,
};
use crate::{
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{AuditContext, EmailKind, EmailMessage, RequestOrigin, SessionId, Time, User, UserId},
    error::{Error, Result},
    repositories::{
        audit_log,
        projects::takeover::{NewStreamKey, take_over_projects},
        sql::user_columns,
    },
};

/// The tokens in e-mail messages.
#[derive(Debug, Clone)]
pub struct MailTokens {
    database: Database,
    notices: Notices,
}

impl MailTokens {
    /// Tokens in this database.
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

    /// Stores the token of a message, for the user of the message's address. `Nobody` if there is no
    /// user, the address is verified already, the change of the address is not pending, or the user
    /// got a message in the last minute whose token is still valid. Earlier tokens remain valid: else
    /// anyone could invalidate them by requesting messages. `NotBefore` if a message of the last
    /// minute was about something else.
    pub async fn issue(
        &self,
        message: &EmailMessage,
        hash: &[u8],
        now: Time,
    ) -> Result<IssuedToken> {
        self.database
            .transaction(|mut tx| async move {
                let Some(user) = recipient(&mut tx, message, now).await? else {
                    return tx.rollback(IssuedToken::Nobody).await;
                };
                let email_key = user.email.to_lowercase();
                let delay = delay(&mut tx, message.kind, user.id, &email_key, now).await?;
                if let Some(refused) = delay {
                    return tx.rollback(refused).await;
                }

                execute!(
                    tx,
                    "insert into mail_tokens
                         (token_hash, user_id, kind, email_key, create_time, expire_time)
                     values ($1, $2, $3, $4, $5, $6)",
                    [
                        hash,
                        user.id,
                        message.kind.as_str(),
                        email_key,
                        now,
                        now + message.kind.token_lifetime()
                    ]
                )?;
                if message.kind == EmailKind::PasswordReset && message.attempts == 1 {
                    let audit = AuditContext::for_user(
                        "RequestPasswordReset",
                        Some(user.id),
                        RequestOrigin::default(),
                    );
                    audit_log::record(&mut tx, &audit, now).await?;
                }
                let recipient = Recipient {
                    email: user.email,
                    user_id: Some(user.id),
                };
                tx.commit(IssuedToken::To(recipient)).await
            })
            .await
    }

    /// Deletes a token whose message could not be sent.
    pub async fn withdraw(&self, hash: &[u8]) -> Result<()> {
        execute!(
            self.database.writer(),
            "delete from mail_tokens where token_hash = $1",
            [hash]
        )
    }

    /// The user of a valid token, which remains valid.
    pub async fn owner(&self, kind: EmailKind, hash: &[u8], now: Time) -> Result<User> {
        fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                user_columns!("users."),
                " from mail_tokens
                 join users on users.id = mail_tokens.user_id
                           and users.email_key = mail_tokens.email_key
                 where token_hash = $1 and kind = $2 and expire_time > $3",
            ),
            [hash, kind.as_str(), now]
        )?
        .ok_or(Error::MailTokenInvalid)
    }

    /// Consumes a token of a user: the address of its message is verified.
    ///
    /// The user is the one who is signed in. So it proves that one person has both the account and
    /// the mailbox: a token in the mailbox of somebody else does not.
    pub async fn verify_email(
        &self,
        user: UserId,
        hash: &[u8],
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let (user_id, email_key) =
                    consume(&mut tx, EmailKind::EmailVerification, hash, now).await?;
                if user_id != user {
                    return Err(Error::MailTokenInvalid);
                }
                session_rows::require_active(&mut tx, audit).await?;
                let verified = rows_affected!(
                    tx,
                    "update users
                     set email_verified = true, update_time = $3
                     where id = $1 and email_key = $2",
                    [user_id, email_key, now]
                )?;
                if verified == 0 {
                    return Err(Error::MailTokenInvalid);
                }
                delete_all(&mut tx, user_id, Some(EmailKind::EmailVerification)).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(()).await
            })
            .await
    }

    /// Consumes a token: the account gets a new password, its address is verified, and its
    /// sessions end. If the address was not verified before, its API keys, second factors and
    /// identities end too, and its projects get new stream keys and no enabled destinations, because
    /// their creator never proved to own the address. The caller's address becomes familiar.
    /// Returns the ids of the ended sessions and keys.
    pub async fn reset_password(
        &self,
        hash: &[u8],
        password_hash: &str,
        at_address: &[u8],
        new_stream_key: NewStreamKey<'_>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        self.database
            .transaction(|mut tx| async move {
                let (user_id, email_key) =
                    consume(&mut tx, EmailKind::PasswordReset, hash, now).await?;
                // The sessions end first, so that none of them can create another key.
                let sessions = session_rows::revoke_all(&mut tx, user_id, None, now).await?;
                let (mut ended, mut projects) = (Vec::new(), Vec::new());
                if is_unverified(&mut tx, user_id).await? {
                    execute!(tx, "delete from identities where user_id = $1", [user_id])?;
                    factor_rows::delete_all(&mut tx, user_id).await?;
                    ended = api_keys::delete_all(&mut tx, user_id, now).await?;
                    projects = take_over_projects(&mut tx, user_id, new_stream_key, now).await?;
                }
                email_change_rows::withdraw(&mut tx, user_id, now).await?;
                ended.extend(sessions.into_iter().map(SessionId::uuid));
                let changed = rows_affected!(
                    tx,
                    "update users
                     set password_hash = $3, email_verified = true, update_time = $4
                     where id = $1 and email_key = $2",
                    [user_id, email_key, password_hash, now]
                )?;
                if changed == 0 {
                    return Err(Error::MailTokenInvalid);
                }

                delete_all(&mut tx, user_id, None).await?;
                failed_attempts::mark_familiar(&mut tx, at_address, now).await?;
                let (notices, kind) = (self.notices, EmailKind::ChangedPassword);
                notices.queue(&mut tx, user_id, kind, "", now).await?;
                let audit = audit.clone().with_user(user_id);
                audit_log::record(&mut tx, &audit, now).await?;
                self.database.commit_changes(tx, projects).await?;
                Ok(ended)
            })
            .await
    }

    /// Deletes a batch of expired tokens.
    pub async fn purge(&self, now: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from mail_tokens
             where token_hash in (
                 select token_hash
                 from mail_tokens
                 where expire_time < $1
                 order by expire_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, now, batch).await
    }
}

/// Deletes a token, so that it cannot be used again; returns its user and the address of
/// its message.
async fn consume(
    tx: &mut Transaction,
    kind: EmailKind,
    hash: &[u8],
    now: Time,
) -> Result<(UserId, String)> {
    fetch_optional!(
        tx,
        "delete from mail_tokens
         where token_hash = $1 and kind = $2 and expire_time > $3
         returning user_id, email_key",
        [hash, kind.as_str(), now]
    )?
    .ok_or(Error::MailTokenInvalid)
}

/// Deletes a user's tokens: those of one kind, or all.
pub(super) async fn delete_all(
    tx: &mut Transaction,
    user_id: UserId,
    kind: Option<EmailKind>,
) -> Result<()> {
    execute!(
        tx,
        "delete from mail_tokens where user_id = $1 and ($2 is null or kind = $2)",
        [user_id, kind.map(EmailKind::as_str)]
    )
}

/// Whether nobody has proved to own the address of an account.
async fn is_unverified(tx: &mut Transaction, user_id: UserId) -> Result<bool> {
    exists!(
        tx,
        "select id from users where id = $1 and not email_verified",
        [user_id]
    )
}
