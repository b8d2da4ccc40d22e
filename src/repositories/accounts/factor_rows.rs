//! Rows of second factors of all kinds: authenticators, passkeys and recovery codes.
//!
//! What a user shows works once, on all replicas together: the statement that accepts it changes the
//! row that decides, in the transaction of what it permits.

use super::{failed_attempts, session_rows::require_active};
use crate::{
    auth::VerifiedAssertion,
    database::Transaction,
    domain::{AuditContext, PasskeyId, SecondFactorId, Time, UserId},
    error::{Error, PasskeyFault, Result},
    repositories::{CountedAttempt, audit_log, sql::has_second_factor},
};

/// The row that a code or an assertion was verified against. It is used up with that row.
#[derive(Debug)]
pub enum SecondFactorProof {
    /// A code of an authenticator.
    Totp {
        /// The authenticator.
        id: SecondFactorId,
        /// The time step of the code.
        step: i64,
    },
    /// A recovery code, which may not exist.
    RecoveryCode {
        /// Its hash.
        hash: Vec<u8>,
    },
    /// An assertion of a passkey, whose challenge may not exist.
    Passkey {
        /// The passkey.
        id: PasskeyId,
        /// The verified assertion.
        assertion: VerifiedAssertion,
    },
}

/// A verified code or assertion, with its counted attempt.
#[derive(Debug)]
pub struct VerifiedSecondFactor {
    /// What it proves.
    pub proof: SecondFactorProof,
    /// The attempt, which counts as a failure until the code or the assertion is used.
    pub attempt: CountedAttempt,
}

/// Uses up a verified code or assertion. `SecondFactorRequired` without one, `SecondFactorInvalid`
/// or `PasskeyInvalid` if it was used before.
pub(super) async fn use_up(
    tx: &mut Transaction,
    user_id: UserId,
    verified: Option<&VerifiedSecondFactor>,
    now: Time,
) -> Result<()> {
    let VerifiedSecondFactor { proof, attempt } = verified.ok_or(Error::SecondFactorRequired)?;
    let used = match proof {
        SecondFactorProof::Totp { id, step } => rows_affected!(
            tx,
            "update second_factors
             set last_step = $3, last_used_time = $4
             where user_id = $1 and id = $2 and confirm_time is not null and last_step < $3",
            [user_id, *id, *step, now]
        )?,
        SecondFactorProof::RecoveryCode { hash } => rows_affected!(
            tx,
            "delete from recovery_codes where user_id = $1 and code_hash = $2",
            [user_id, hash]
        )?,
        SecondFactorProof::Passkey { id, assertion } => {
            use_passkey(tx, (user_id, *id), assertion, now).await?;
            1
        }
    };
    match used {
        0 => Err(Error::SecondFactorInvalid),
        _ => failed_attempts::clear(tx, attempt).await,
    }
}

/// Takes the challenge of an assertion, and stores the signature counter: it grows with each use, or
/// stays zero if the authenticator has none.
async fn use_passkey(
    tx: &mut Transaction,
    (user_id, id): (UserId, PasskeyId),
    assertion: &VerifiedAssertion,
    now: Time,
) -> Result<()> {
    let taken = rows_affected!(
        tx,
        "delete from passkey_challenges
         where challenge_hash = $1 and user_id is null and expire_time > $2",
        [&assertion.challenge.0, now]
    )?;
    if taken == 0 {
        return Err(Error::PasskeyInvalid(PasskeyFault::Challenge));
    }
    let used = rows_affected!(
        tx,
        "update passkeys
         set sign_count = $3, backed_up = $4, last_used_time = $5
         where user_id = $1 and id = $2 and (sign_count < $3 or (sign_count = 0 and $3 = 0))",
        [
            user_id,
            id,
            i64::from(assertion.sign_count),
            assertion.backed_up,
            now
        ]
    )?;
    match used {
        0 => Err(Error::PasskeyInvalid(PasskeyFault::Counter)),
        _ => Ok(()),
    }
}

/// Whether a user has a second factor, until the transaction ends if the user is locked.
pub(super) async fn exist(tx: &mut Transaction, user_id: UserId) -> Result<bool> {
    fetch_scalar!(tx, concat!("select ", has_second_factor!("$1")), [user_id])
}

/// Deletes the second factors of a user, for example because somebody else may have made them.
pub(super) async fn delete_all(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    for sql in [
        "delete from second_factors where user_id = $1",
        "delete from passkeys where user_id = $1",
        "delete from passkey_challenges where user_id = $1",
    ] {
        execute!(tx, sql, [user_id])?;
    }
    replace_codes(tx, user_id, &[]).await
}

/// Serialises the changes of one user, and those with sign-ins.
pub(super) async fn lock_user(tx: &mut Transaction, id: UserId, now: Time) -> Result<()> {
    let locked = rows_affected!(
        tx,
        "update users set update_time = $2 where id = $1 and delete_time is null",
        [id, now]
    )?;
    match locked {
        0 => Err(Error::not_found("user", id)),
        _ => Ok(()),
    }
}

/// Replaces the recovery codes of a user by ones with these hashes.
pub(super) async fn replace_codes(
    tx: &mut Transaction,
    user_id: UserId,
    hashes: &[Vec<u8>],
) -> Result<()> {
    execute!(
        tx,
        "delete from recovery_codes where user_id = $1",
        [user_id]
    )?;
    for hash in hashes {
        execute!(
            tx,
            "insert into recovery_codes (user_id, code_hash) values ($1, $2)",
            [user_id, hash]
        )?;
    }
    Ok(())
}

/// Deletes the recovery codes of a user without a second factor.
pub(super) async fn delete_unneeded_codes(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    match exist(tx, user_id).await? {
        true => Ok(()),
        false => replace_codes(tx, user_id, &[]).await,
    }
}

/// Ends a change of a session that is still active.
pub(super) async fn finish<T>(
    mut tx: Transaction,
    audit: &AuditContext,
    now: Time,
    result: T,
) -> Result<T> {
    require_active(&mut tx, audit).await?;
    audit_log::record(&mut tx, audit, now).await?;
    tx.commit(result).await
}
