use chrono::TimeDelta;

use super::{
    factor_rows::{
        VerifiedSecondFactor, delete_all, delete_unneeded_codes, exist, finish, lock_user,
        replace_codes, use_up,
    },
    failed_attempts,
    notices::Notices,
};
use crate::{
    database::{Database, Transaction},
    domain::{AuditContext, EmailKind, Name, Page, SecondFactor, SecondFactorId, Time, UserId},
    error::{Error, Result},
    repositories::{CountedAttempt, audit_log, sql::has_second_factor},
};

/// The most authenticators of a user.
const MAX_AUTHENTICATORS: i64 = 5;

/// The time within which an authenticator has to be confirmed.
const ENROLMENT_TIMEOUT: TimeDelta = TimeDelta::minutes(30);

/// The columns of [`SecondFactor`].
macro_rules! factor_columns {
    () => {
        "id, display_name, create_time, last_used_time"
    };
}

/// Authenticators and recovery codes of users.
#[derive(Debug, Clone)]
pub struct SecondFactors {
    database: Database,
    notices: Notices,
}

/// An authenticator to create.
#[derive(Debug)]
pub struct NewSecondFactor {
    /// The id.
    pub id: SecondFactorId,
    /// The user.
    pub user_id: UserId,
    /// The user's name for it.
    pub display_name: Name,
    /// The sealed secret.
    pub secret_sealed: Vec<u8>,
}

impl SecondFactors {
    /// Second factors in this database.
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

    /// Creates an authenticator that has to be confirmed, and deletes earlier ones that were not.
    /// `SecondFactorRequired` if the user has one already and `verified` is `None`.
    pub async fn create(
        &self,
        new: &NewSecondFactor,
        verified: Option<&VerifiedSecondFactor>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<SecondFactor> {
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, new.user_id, now).await?;
                if count(&mut tx, new.user_id).await? >= MAX_AUTHENTICATORS {
                    return Err(Error::SecondFactorLimit);
                }
                if exist(&mut tx, new.user_id).await? {
                    use_up(&mut tx, new.user_id, verified, now).await?;
                }
                execute!(
                    tx,
                    "delete from second_factors where user_id = $1 and confirm_time is null",
                    [new.user_id]
                )?;
                let created = insert(&mut tx, new, now).await?;
                finish(tx, audit, now, created).await
            })
            .await
    }

    /// The sealed secret of a user's authenticator that waits for its confirmation.
    pub async fn unconfirmed_secret(
        &self,
        user_id: UserId,
        id: SecondFactorId,
        now: Time,
    ) -> Result<Vec<u8>> {
        let found: Option<Vec<u8>> = fetch_optional_scalar!(
            self.database.reader(),
            "select secret_sealed
             from second_factors
             where user_id = $1 and id = $2 and confirm_time is null and create_time > $3",
            [user_id, id, now - ENROLMENT_TIMEOUT]
        )?;
        found.ok_or_else(|| not_found(id))
    }

    /// Confirms an authenticator with a code of a time step. The first second factor of a user
    /// brings recovery codes with these hashes; returns whether it is the first.
    pub async fn confirm(
        &self,
        user_id: UserId,
        (id, step): (SecondFactorId, i64),
        attempt: &CountedAttempt,
        recovery_hashes: &[Vec<u8>],
        audit: &AuditContext,
        now: Time,
    ) -> Result<(SecondFactor, bool)> {
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, user_id, now).await?;
                let is_first = !exist(&mut tx, user_id).await?;
                let confirmed: Option<SecondFactor> = fetch_optional!(
                    tx,
                    concat!(
                        "update second_factors
                         set confirm_time = $3, last_used_time = $3, last_step = $4
                         where user_id = $1 and id = $2 and confirm_time is null
                         returning ",
                        factor_columns!(),
                    ),
                    [user_id, id, now, step]
                )?;
                let confirmed = confirmed.ok_or_else(|| not_found(id))?;
                if is_first {
                    replace_codes(&mut tx, user_id, recovery_hashes).await?;
                }
                failed_attempts::clear(&mut tx, attempt).await?;
                let (notices, kind) = (self.notices, EmailKind::NewSecondFactor);
                notices.queue(&mut tx, user_id, kind, "", now).await?;
                finish(tx, audit, now, (confirmed, is_first)).await
            })
            .await
    }

    /// The ids and sealed secrets of a user's confirmed authenticators.
    pub async fn secrets(&self, user_id: UserId) -> Result<Vec<(SecondFactorId, Vec<u8>)>> {
        fetch_all!(
            self.database.reader(),
            "select id, secret_sealed
             from second_factors
             where user_id = $1 and confirm_time is not null",
            [user_id]
        )
    }

    /// Whether a user has a second factor: a confirmed authenticator or a passkey.
    pub async fn exist(&self, user_id: UserId) -> Result<bool> {
        fetch_scalar!(
            self.database.reader(),
            concat!("select ", has_second_factor!("$1")),
            [user_id]
        )
    }

    /// `NotFound` unless the user has confirmed this authenticator.
    pub async fn require(&self, user_id: UserId, id: SecondFactorId) -> Result<()> {
        let found = exists!(
            self.database.reader(),
            "select id
             from second_factors
             where user_id = $1 and id = $2 and confirm_time is not null",
            [user_id, id]
        )?;
        found.then_some(()).ok_or_else(|| not_found(id))
    }

    /// A user's confirmed authenticators, newest first.
    pub async fn list(&self, user_id: UserId, page: Page) -> Result<Vec<SecondFactor>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                factor_columns!(),
                " from second_factors
                 where user_id = $1 and id < $2 and confirm_time is not null
                 order by id desc
                 limit $3",
            ),
            [user_id, page.below, page.limit()]
        )
    }

    /// The number of a user's unused recovery codes.
    pub async fn unused_recovery_codes(&self, user_id: UserId) -> Result<i64> {
        fetch_scalar!(
            self.database.reader(),
            "select count(*) from recovery_codes where user_id = $1",
            [user_id]
        )
    }

    /// Deletes an authenticator; with the last second factor, the recovery codes too.
    pub async fn delete(
        &self,
        user_id: UserId,
        id: SecondFactorId,
        verified: &VerifiedSecondFactor,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, user_id, now).await?;
                use_up(&mut tx, user_id, Some(verified), now).await?;
                let deleted = rows_affected!(
                    tx,
                    "delete from second_factors
                     where user_id = $1 and id = $2 and confirm_time is not null",
                    [user_id, id]
                )?;
                if deleted == 0 {
                    return Err(not_found(id));
                }
                delete_unneeded_codes(&mut tx, user_id).await?;
                let (notices, kind) = (self.notices, EmailKind::RemovedSecondFactor);
                notices.queue(&mut tx, user_id, kind, "", now).await?;
                finish(tx, audit, now, ()).await
            })
            .await
    }

    /// Removes all authenticators, passkeys and recovery codes of a user; returns the number of
    /// authenticators and passkeys.
    pub async fn remove_all(
        &self,
        user_id: UserId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<i64> {
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, user_id, now).await?;
                let passkeys: i64 = fetch_scalar!(
                    tx,
                    "select count(*) from passkeys where user_id = $1",
                    [user_id]
                )?;
                let removed = passkeys + count(&mut tx, user_id).await?;
                delete_all(&mut tx, user_id).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(removed).await
            })
            .await
    }

    /// Replaces the recovery codes of a user by ones with these hashes.
    pub async fn replace_recovery_codes(
        &self,
        user_id: UserId,
        verified: &VerifiedSecondFactor,
        hashes: &[Vec<u8>],
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, user_id, now).await?;
                use_up(&mut tx, user_id, Some(verified), now).await?;
                replace_codes(&mut tx, user_id, hashes).await?;
                finish(tx, audit, now, ()).await
            })
            .await
    }
}

/// The number of a user's confirmed authenticators.
async fn count(tx: &mut Transaction, user_id: UserId) -> Result<i64> {
    fetch_scalar!(
        tx,
        "select count(*) from second_factors where user_id = $1 and confirm_time is not null",
        [user_id]
    )
}

async fn insert(tx: &mut Transaction, new: &NewSecondFactor, now: Time) -> Result<SecondFactor> {
    fetch_one!(
        tx,
        concat!(
            "insert into second_factors
                 (id, user_id, display_name, secret_sealed, last_step, create_time)
             values ($1, $2, $3, $4, 0, $5)
             returning ",
            factor_columns!(),
        ),
        [
            new.id,
            new.user_id,
            new.display_name.as_str(),
            &new.secret_sealed,
            now
        ]
    )
}

fn not_found(id: SecondFactorId) -> Error {
    Error::not_found("second factor", id)
}

impl_from_row!(SecondFactor: id, display_name, create_time, last_used_time);
