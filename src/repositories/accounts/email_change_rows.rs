//! Rows of requested changes of e-mail addresses, and of the tokens in their messages.

use chrono::TimeDelta;

use crate::{
    database::{Transaction, on_unique_violation},
    domain::{Email, EmailChange, EmailKind, Time, User, UserId},
    error::{Error, Result},
    repositories::sql::{for_share, user_columns},
};

/// The time within which both addresses have to confirm a change.
const LIFETIME: TimeDelta = TimeDelta::hours(24);

/// The columns of [`EmailChange`].
macro_rules! change_columns {
    () => {
        "new_email, create_time, expire_time, current_confirm_time, new_confirm_time"
    };
}

/// The new address of a user's change that has not expired, which nothing replaces until the
/// transaction ends.
pub(super) async fn lock_new_email(
    tx: &mut Transaction,
    user_id: UserId,
    now: Time,
) -> Result<Option<String>> {
    let sql = for_share!(
        tx,
        "select new_email from email_changes where user_id = $1 and expire_time > $2"
    );
    fetch_optional_scalar!(tx, sql, [user_id, now])
}

/// Deletes the change of a user. Its tokens expire; their rows remain, because they limit how often
/// messages are sent.
pub(super) async fn withdraw(tx: &mut Transaction, user_id: UserId, now: Time) -> Result<()> {
    execute!(
        tx,
        "delete from email_changes where user_id = $1",
        [user_id]
    )?;
    execute!(
        tx,
        "update mail_tokens
         set expire_time = $2
         where user_id = $1 and kind in ('email_change', 'new_email')",
        [user_id, now]
    )
}

/// Whether a change to this address is pending.
pub(super) async fn is_requested(
    tx: &mut Transaction,
    user_id: UserId,
    new: &Email,
    now: Time,
) -> Result<bool> {
    exists!(
        tx,
        "select user_id
         from email_changes
         where user_id = $1 and new_email_key = $2 and expire_time > $3",
        [user_id, new.key(), now]
    )
}

/// Requests a change, or prolongs the one to the same address.
pub(super) async fn upsert(
    tx: &mut Transaction,
    user_id: UserId,
    new: &Email,
    now: Time,
) -> Result<EmailChange> {
    fetch_one!(
        tx,
        concat!(
            "insert into email_changes
                 (user_id, new_email, new_email_key, create_time, expire_time)
             values ($1, $2, $3, $4, $5)
             on conflict (user_id) do update
             set new_email = $2, expire_time = $5
             returning ",
            change_columns!(),
        ),
        [user_id, new.as_str(), new.key(), now, now + LIFETIME]
    )
}

/// Consumes a token, and records what it confirms. `EmailTaken` if it confirms a new address that has
/// another account.
pub(super) async fn record_confirmation(
    tx: &mut Transaction,
    user_id: UserId,
    hash: &[u8],
    now: Time,
) -> Result<EmailChange> {
    let (kind, email_key) = consume_token(tx, user_id, hash, now).await?;
    let change: Option<EmailChange> = match kind {
        EmailKind::NewEmail => fetch_optional!(
            tx,
            concat!(
                "update email_changes
                 set new_confirm_time = coalesce(new_confirm_time, $3)
                 where user_id = $1 and new_email_key = $2 and expire_time > $3
                 returning ",
                change_columns!(),
            ),
            [user_id, &email_key, now]
        )?,
        _ => fetch_optional!(
            tx,
            concat!(
                "update email_changes
                 set current_confirm_time = coalesce(current_confirm_time, $2)
                 where user_id = $1 and expire_time > $2
                 returning ",
                change_columns!(),
            ),
            [user_id, now]
        )?,
    };
    let change = change.ok_or(Error::MailTokenInvalid)?;
    let is_taken = kind == EmailKind::NewEmail
        && exists!(
            tx,
            "select id from users where email_key = $1",
            [&email_key]
        )?;
    match is_taken {
        true => Err(Error::EmailTaken),
        false => Ok(change),
    }
}

/// Deletes a token of a user's change, so that it cannot be used again; returns its kind and the
/// address of its message.
pub(super) async fn consume_token(
    tx: &mut Transaction,
    user_id: UserId,
    hash: &[u8],
    now: Time,
) -> Result<(EmailKind, String)> {
    fetch_optional!(
        tx,
        "delete from mail_tokens
         where token_hash = $1 and user_id = $2 and kind in ('email_change', 'new_email')
           and expire_time > $3
         returning kind, email_key",
        [hash, user_id, now]
    )?
    .ok_or(Error::MailTokenInvalid)
}

/// Changes the address. What was sent to the former one, or waits for it, ends. `EmailTaken` if the
/// new address has an account: the unique index decides between two users.
pub(super) async fn apply(
    tx: &mut Transaction,
    user: &User,
    change: &EmailChange,
    now: Time,
) -> Result<User> {
    let changed = fetch_one!(
        tx,
        concat!(
            "update users
             set email = $2, email_key = $3, email_verified = true, update_time = $4
             where id = $1
             returning ",
            user_columns!(""),
        ),
        [
            user.id,
            &change.new_email,
            change.new_email.to_lowercase(),
            now
        ]
    )
    .map_err(on_unique_violation(Error::EmailTaken))?;
    for sql in [
        "delete from email_changes where user_id = $1",
        "delete from mail_tokens where user_id = $1",
    ] {
        execute!(tx, sql, [user.id])?;
    }
    execute!(
        tx,
        "delete from outbox where email_key = $1",
        [user.email.to_lowercase()]
    )?;
    Ok(changed)
}

impl_from_row!(
    EmailChange:
    new_email, create_time, expire_time, current_confirm_time, new_confirm_time
);
