//! Requested changes of e-mail addresses. An address changes once the new address and, if it is
//! verified, the current one have confirmed the change.
//!
//! Every change of a request locks the account first. So of two confirmations at once, one sees the
//! other; and a token that was issued meanwhile is not missed.

use uuid::Uuid;

use super::{
    email_change_rows::{
        apply, consume_token, is_requested, record_confirmation, upsert, withdraw,
    },
    failed_attempts, session_rows,
};
use crate::{
    auth::account_at_address,
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{
        AuditContext, Email, EmailChange, EmailKind, EmailMessageId, SessionId, Time, User, UserId,
    },
    error::{Error, Result},
    repositories::{audit_log, sql::user_columns},
};

/// Requested changes of e-mail addresses, at most one for each user.
#[derive(Debug, Clone)]
pub struct EmailChanges {
    database: Database,
}

/// An account after a confirmation.
#[derive(Debug)]
pub struct ConfirmedEmail {
    /// The account.
    pub user: User,
    /// The change, if another address has to confirm it.
    pub pending: Option<EmailChange>,
    /// The other sessions, which ended if the address has changed.
    pub ended: Vec<Uuid>,
}

impl EmailChanges {
    /// The changes in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Requests a change, and queues the messages to both addresses. A request for another address
    /// replaces an earlier one; one for the same address keeps its confirmations. Whether the new
    /// address has an account makes no difference. `Invalid` if it is the current one.
    pub async fn request(
        &self,
        user_id: UserId,
        new: &Email,
        audit: &AuditContext,
        now: Time,
    ) -> Result<(User, EmailChange)> {
        self.database
            .transaction(|mut tx| async move {
                let user = lock_account(&mut tx, user_id).await?;
                session_rows::require_active(&mut tx, audit).await?;
                if user.email.to_lowercase() == new.key() {
                    return Err(Error::invalid(
                        "new_email",
                        "must be another address than the current one",
                    ));
                }
                if !is_requested(&mut tx, user_id, new, now).await? {
                    withdraw(&mut tx, user_id, now).await?;
                }
                let change = upsert(&mut tx, user_id, new, now).await?;
                queue_messages(&mut tx, &user, &change, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit((user, change)).await
            })
            .await
    }

    /// Confirms a change of a signed-in user with the token of one of the messages. With the last
    /// confirmation the address changes, and the other sessions end. `EmailTaken` if the new address
    /// has an account by then.
    pub async fn confirm(
        &self,
        (user_id, session): (UserId, SessionId),
        hash: &[u8],
        audit: &AuditContext,
        now: Time,
    ) -> Result<ConfirmedEmail> {
        self.database
            .transaction(|mut tx| async move {
                let user = lock_account(&mut tx, user_id).await?;
                session_rows::require_active(&mut tx, audit).await?;
                let change = record_confirmation(&mut tx, user_id, hash, now).await?;
                if change.awaits_new_email() || change.awaits_current_email(&user) {
                    audit_log::record(&mut tx, audit, now).await?;
                    let confirmed = ConfirmedEmail {
                        user,
                        pending: Some(change),
                        ended: Vec::new(),
                    };
                    return tx.commit(confirmed).await;
                }

                let user = apply(&mut tx, &user, &change, now).await?;
                let at_address = account_at_address(&user.email.to_lowercase(), &audit.origin);
                failed_attempts::mark_familiar(&mut tx, &at_address, now).await?;
                let others = session_rows::revoke_all(&mut tx, user_id, Some(session), now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                let confirmed = ConfirmedEmail {
                    user,
                    pending: None,
                    ended: others.into_iter().map(SessionId::uuid).collect(),
                };
                tx.commit(confirmed).await
            })
            .await
    }

    /// Cancels a change with the token of one of the messages.
    pub async fn cancel(&self, hash: &[u8], audit: &AuditContext, now: Time) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let user_id: Option<UserId> = fetch_optional_scalar!(
                    tx,
                    "select user_id from mail_tokens
                     where token_hash = $1 and kind in ('email_change', 'new_email')",
                    [hash]
                )?;
                let user_id = user_id.ok_or(Error::MailTokenInvalid)?;
                lock_account(&mut tx, user_id).await?;
                consume_token(&mut tx, user_id, hash, now).await?;
                withdraw(&mut tx, user_id, now).await?;
                let audit = audit.clone().with_user(user_id);
                audit_log::record(&mut tx, &audit, now).await?;
                tx.commit(()).await
            })
            .await
    }

    /// Deletes a batch of expired requests.
    pub async fn purge(&self, now: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from email_changes
             where user_id in (
                 select user_id
                 from email_changes
                 where expire_time < $1
                 order by expire_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, now, batch).await
    }
}

/// Locks an account. Its changes of addresses are serialised.
async fn lock_account(tx: &mut Transaction, user_id: UserId) -> Result<User> {
    macro_rules! select {
        ($lock:literal) => {
            concat!(
                "select ",
                user_columns!(""),
                " from users where id = $1 and delete_time is null",
                $lock
            )
        };
    }
    let sql = match tx {
        Transaction::Postgres(_) => select!(" for no key update"),
        // Nothing else writes meanwhile.
        Transaction::Sqlite(_) => select!(""),
    };
    let user: Option<User> = fetch_optional!(tx, sql, [user_id])?;
    user.ok_or_else(|| Error::not_found("user", user_id))
}

/// Queues a message to each address that has to confirm a change. An address that is not verified may
/// be a stranger's, and does not have to. The mailer finds the new address in the change.
async fn queue_messages(
    tx: &mut Transaction,
    user: &User,
    change: &EmailChange,
    now: Time,
) -> Result<()> {
    let kinds = [
        (EmailKind::NewEmail, change.awaits_new_email()),
        (EmailKind::EmailChange, change.awaits_current_email(user)),
    ];
    for (kind, _) in kinds.into_iter().filter(|(_, is_awaited)| *is_awaited) {
        execute!(
            tx,
            "insert into outbox (id, kind, email_key, create_time, attempts, next_attempt_time)
             values ($1, $2, $3, $4, 0, $4)
             on conflict (email_key, kind) do nothing",
            [
                EmailMessageId::generate(),
                kind.as_str(),
                user.email.to_lowercase(),
                now
            ]
        )?;
    }
    Ok(())
}
