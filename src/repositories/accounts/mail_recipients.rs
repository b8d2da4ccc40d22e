//! Who gets an e-mail message, and when.

use chrono::TimeDelta;

use super::email_change_rows::lock_new_email;
use crate::{
    database::Transaction,
    domain::{EmailKind, EmailMessage, Time, User, UserId},
    error::Result,
    repositories::sql::user_columns,
};

/// The minimum interval between two messages of one kind to one user, or to one new address.
const MIN_SEND_INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// The outcome of issuing a token.
#[derive(Debug)]
pub enum IssuedToken {
    /// The message may be sent.
    To(Recipient),
    /// The message is not sent.
    Nobody,
    /// The message must wait until this time.
    NotBefore(Time),
}

/// Whom a message goes to.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The address.
    pub email: String,
    /// The user; `None` if the address may have no account.
    pub user_id: Option<UserId>,
}

/// The user that a message goes to, with the address that it goes to.
pub(super) async fn recipient(
    tx: &mut Transaction,
    message: &EmailMessage,
    now: Time,
) -> Result<Option<User>> {
    let Some(user) = find_user(tx, &message.email_key).await? else {
        return Ok(None);
    };
    let new_email = match message.kind {
        kind if is_of_change(kind) => lock_new_email(tx, user.id, now).await?,
        _ => None,
    };
    Ok(match (message.kind, new_email) {
        (EmailKind::NewEmail, Some(email)) => Some(User { email, ..user }),
        (EmailKind::EmailChange, Some(_)) if user.email_verified => Some(user),
        (EmailKind::NewEmail | EmailKind::EmailChange, _) => None,
        (EmailKind::EmailVerification, _) if user.email_verified => None,
        _ => Some(user),
    })
}

/// Why a message must not be sent now, because of the messages of its kind in the last minute.
pub(super) async fn delay(
    tx: &mut Transaction,
    kind: EmailKind,
    user_id: UserId,
    email_key: &str,
    now: Time,
) -> Result<Option<IssuedToken>> {
    let since = now - MIN_SEND_INTERVAL;
    let to_user: Option<(Time, Time)> = fetch_optional!(
        tx,
        "select create_time, expire_time
         from mail_tokens
         where user_id = $1 and kind = $2 and create_time > $3
         order by create_time desc
         limit 1",
        [user_id, kind.as_str(), since]
    )?;
    match to_user {
        Some((_, expire_time)) if expire_time > now || !is_of_change(kind) => {
            return Ok(Some(IssuedToken::Nobody));
        }
        Some((time, _)) => return Ok(Some(IssuedToken::NotBefore(time + MIN_SEND_INTERVAL))),
        None if kind != EmailKind::NewEmail => return Ok(None),
        None => {}
    }
    // Other users may name the same new address.
    let to_address: Option<Time> = fetch_optional_scalar!(
        tx,
        "select create_time
         from mail_tokens
         where email_key = $1 and kind = $2 and create_time > $3
         order by create_time desc
         limit 1",
        [email_key, kind.as_str(), since]
    )?;
    Ok(to_address.map(|time| IssuedToken::NotBefore(time + MIN_SEND_INTERVAL)))
}

async fn find_user(tx: &mut Transaction, email_key: &str) -> Result<Option<User>> {
    fetch_optional!(
        tx,
        concat!(
            "select ",
            user_columns!(""),
            " from users where email_key = $1"
        ),
        [email_key]
    )
}

/// Whether a message asks to confirm a change of an address.
const fn is_of_change(kind: EmailKind) -> bool {
    matches!(kind, EmailKind::EmailChange | EmailKind::NewEmail)
}
