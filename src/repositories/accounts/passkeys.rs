//! Passkeys, and the challenges of their ceremonies.

use chrono::TimeDelta;

use super::{
    factor_rows::{
        VerifiedSecondFactor, delete_unneeded_codes, exist, finish, lock_user, replace_codes,
        use_up,
    },
    notices::Notices,
};
use crate::{
    auth::{ChallengeHash, RegisteredCredential, StoredCredential},
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{
        AuditContext, EmailKind, Name, Page, Passkey, PasskeyId, RequestOrigin, Time, UserId,
    },
    error::{Error, PasskeyFault, Result},
    random::{random_bytes, sha256},
};

/// The most passkeys of a user.
const MAX_PASSKEYS: i64 = 10;

/// The time within which a challenge has to be answered.
const CHALLENGE_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// The most challenges of a user that wait for a registration.
const MAX_REGISTRATIONS: i64 = 10;

/// The most challenges of an address that wait for an authentication.
const MAX_AUTHENTICATIONS: i64 = 100;

/// What a notice says beside its kind if the second factor is a passkey.
const NOTICE_DETAIL: &str = "passkey";

/// The columns of [`Passkey`].
macro_rules! passkey_columns {
    () => {
        "id, display_name, backed_up, create_time, last_used_time"
    };
}

/// Passkeys of users.
#[derive(Debug, Clone)]
pub struct Passkeys {
    database: Database,
    notices: Notices,
}

/// A registration that has begun.
#[derive(Debug)]
pub struct BegunRegistration {
    /// By which the passkey will identify its user.
    pub user_handle: Vec<u8>,
    /// The ids and transports of the user's passkeys.
    pub existing: Vec<(Vec<u8>, Vec<String>)>,
    /// When the challenge ends.
    pub expire_time: Time,
}

/// A passkey to register.
#[derive(Debug)]
pub struct NewPasskey {
    /// The id.
    pub id: PasskeyId,
    /// The user.
    pub user_id: UserId,
    /// The user's name for it.
    pub display_name: Name,
    /// The verified credential, whose challenge may not exist.
    pub credential: RegisteredCredential,
}

/// A registered passkey with what verifies its assertions.
#[derive(Debug)]
pub struct StoredPasskey {
    /// The id.
    pub id: PasskeyId,
    /// The user.
    pub user_id: UserId,
    /// What verifies an assertion.
    pub credential: StoredCredential,
}

impl Passkeys {
    /// Passkeys in this database.
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

    /// Stores the challenge of an authentication that a caller begins; returns when it ends. The
    /// oldest ones of the caller's address are deleted if there are too many.
    pub async fn begin_authentication(
        &self,
        challenge: &ChallengeHash,
        origin: &RequestOrigin,
        now: Time,
    ) -> Result<Time> {
        let network = origin.peer_address.map(|peer| peer.network().to_string());
        let network = network.unwrap_or_default();
        let subject = &sha256(&format!("network\n{network}"));
        let expire_time = now + CHALLENGE_LIFETIME;
        self.database
            .transaction(|mut tx| async move {
                execute!(
                    tx,
                    "insert into passkey_challenges (challenge_hash, subject_hash, expire_time)
                     values ($1, $2, $3)",
                    [&challenge.0, subject, expire_time]
                )?;
                delete_oldest(&mut tx, subject, MAX_AUTHENTICATIONS).await?;
                tx.commit(expire_time).await
            })
            .await
    }

    /// Stores the challenge of a registration that a user begins. `SecondFactorRequired` if the user
    /// has a second factor already and `verified` is `None`.
    pub async fn begin_registration(
        &self,
        user_id: UserId,
        challenge: &ChallengeHash,
        verified: Option<&VerifiedSecondFactor>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<BegunRegistration> {
        let subject = &sha256(&format!("user\n{user_id}"));
        let expire_time = now + CHALLENGE_LIFETIME;
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, user_id, now).await?;
                require_room(&mut tx, user_id).await?;
                if exist(&mut tx, user_id).await? {
                    use_up(&mut tx, user_id, verified, now).await?;
                }
                let rows: Vec<(Vec<u8>, String, Vec<u8>)> = fetch_all!(
                    tx,
                    "select credential_id, transports, user_handle
                     from passkeys
                     where user_id = $1",
                    [user_id]
                )?;
                let known = rows.first().map(|(_, _, handle)| handle.clone());
                let user_handle = known.unwrap_or_else(|| random_bytes::<32>().to_vec());
                execute!(
                    tx,
                    "insert into passkey_challenges
                         (challenge_hash, subject_hash, user_id, user_handle, expire_time)
                     values ($1, $2, $3, $4, $5)",
                    [&challenge.0, subject, user_id, &user_handle, expire_time]
                )?;
                delete_oldest(&mut tx, subject, MAX_REGISTRATIONS).await?;
                let existing = rows
                    .into_iter()
                    .map(|(id, transports, _)| (id, split(&transports)));
                let begun = BegunRegistration {
                    user_handle,
                    existing: existing.collect(),
                    expire_time,
                };
                finish(tx, audit, now, begun).await
            })
            .await
    }

    /// Registers a passkey. The first second factor of a user brings recovery codes with these
    /// hashes; returns whether it is the first.
    pub async fn register(
        &self,
        new: &NewPasskey,
        recovery_hashes: &[Vec<u8>],
        audit: &AuditContext,
        now: Time,
    ) -> Result<(Passkey, bool)> {
        let user_id = new.user_id;
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, user_id, now).await?;
                let user_handle: Option<Vec<u8>> = fetch_optional_scalar!(
                    tx,
                    "delete from passkey_challenges
                     where challenge_hash = $1 and user_id = $2 and expire_time > $3
                     returning user_handle",
                    [&new.credential.challenge.0, user_id, now]
                )?;
                let refused = Error::PasskeyInvalid(PasskeyFault::Challenge);
                let user_handle = user_handle.ok_or(refused)?;
                require_room(&mut tx, user_id).await?;
                let is_first = !exist(&mut tx, user_id).await?;
                let registered = insert(&mut tx, new, &user_handle, now).await?;
                if is_first {
                    replace_codes(&mut tx, user_id, recovery_hashes).await?;
                }
                let (notices, kind) = (self.notices, EmailKind::NewSecondFactor);
                notices
                    .queue(&mut tx, user_id, kind, NOTICE_DETAIL, now)
                    .await?;
                finish(tx, audit, now, (registered, is_first)).await
            })
            .await
    }

    /// The passkey with a credential id, of any user.
    pub async fn find(&self, credential_id: &[u8]) -> Result<Option<StoredPasskey>> {
        fetch_optional!(
            self.database.reader(),
            "select id, user_id, public_key, user_handle, backup_eligible
             from passkeys
             where credential_id = $1",
            [credential_id]
        )
    }

    /// A user's passkeys, newest first.
    pub async fn list(&self, user_id: UserId, page: Page) -> Result<Vec<Passkey>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                passkey_columns!(),
                " from passkeys
                 where user_id = $1 and id < $2
                 order by id desc
                 limit $3",
            ),
            [user_id, page.below, page.limit()]
        )
    }

    /// `NotFound` unless the user has this passkey.
    pub async fn require(&self, user_id: UserId, id: PasskeyId) -> Result<()> {
        let found = exists!(
            self.database.reader(),
            "select id from passkeys where user_id = $1 and id = $2",
            [user_id, id]
        )?;
        found.then_some(()).ok_or_else(|| not_found(id))
    }

    /// Renames a passkey.
    pub async fn rename(
        &self,
        user_id: UserId,
        id: PasskeyId,
        display_name: &Name,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Passkey> {
        self.database
            .transaction(|mut tx| async move {
                let renamed: Option<Passkey> = fetch_optional!(
                    tx,
                    concat!(
                        "update passkeys
                         set display_name = $3
                         where user_id = $1 and id = $2
                         returning ",
                        passkey_columns!(),
                    ),
                    [user_id, id, display_name.as_str()]
                )?;
                let renamed = renamed.ok_or_else(|| not_found(id))?;
                finish(tx, audit, now, renamed).await
            })
            .await
    }

    /// Deletes a passkey; with the last second factor, the recovery codes too.
    pub async fn delete(
        &self,
        user_id: UserId,
        id: PasskeyId,
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
                    "delete from passkeys where user_id = $1 and id = $2",
                    [user_id, id]
                )?;
                if deleted == 0 {
                    return Err(not_found(id));
                }
                delete_unneeded_codes(&mut tx, user_id).await?;
                let (notices, kind) = (self.notices, EmailKind::RemovedSecondFactor);
                notices
                    .queue(&mut tx, user_id, kind, NOTICE_DETAIL, now)
                    .await?;
                finish(tx, audit, now, ()).await
            })
            .await
    }

    /// Deletes a batch of challenges that have ended.
    pub async fn purge_challenges(&self, now: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from passkey_challenges
             where challenge_hash in (
                 select challenge_hash
                 from passkey_challenges
                 where expire_time < $1
                 order by expire_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, now, batch).await
    }
}

/// `SecondFactorLimit` if a user has the maximum number of passkeys.
async fn require_room(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    let number: i64 = fetch_scalar!(
        tx,
        "select count(*) from passkeys where user_id = $1",
        [user_id]
    )?;
    match number {
        MAX_PASSKEYS.. => Err(Error::SecondFactorLimit),
        _ => Ok(()),
    }
}

/// Deletes the challenges of a subject beyond the newest ones.
async fn delete_oldest(tx: &mut Transaction, subject: &[u8], kept: i64) -> Result<()> {
    execute!(
        tx,
        "delete from passkey_challenges
         where challenge_hash in (
             select challenge_hash
             from passkey_challenges
             where subject_hash = $1
             order by expire_time desc
             limit 1000 offset $2)",
        [subject, kept]
    )
}

/// `PasskeyInvalid` if the credential is registered already, for any user.
async fn insert(
    tx: &mut Transaction,
    new: &NewPasskey,
    user_handle: &[u8],
    now: Time,
) -> Result<Passkey> {
    let credential = &new.credential;
    let inserted: Option<Passkey> = fetch_optional!(
        tx,
        concat!(
            "insert into passkeys
                 (id, user_id, display_name, credential_id, public_key, user_handle, transports,
                  sign_count, backup_eligible, backed_up, create_time)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (credential_id) do nothing
             returning ",
            passkey_columns!(),
        ),
        [
            new.id,
            new.user_id,
            new.display_name.as_str(),
            &credential.credential_id,
            &credential.public_key,
            user_handle,
            credential.transports.join(","),
            i64::from(credential.sign_count),
            credential.backup_eligible,
            credential.backed_up,
            now
        ]
    )?;
    inserted.ok_or(Error::PasskeyInvalid(PasskeyFault::AlreadyRegistered))
}

/// The transports in a column.
fn split(transports: &str) -> Vec<String> {
    let names = transports.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn not_found(id: PasskeyId) -> Error {
    Error::not_found("passkey", id)
}

impl_from_row!(Passkey: id, display_name, backed_up, create_time, last_used_time);

impl_from_row!(
    StoredPasskey:
    id, user_id;
    |row|
    credential: StoredCredential {
        public_key: sqlx::Row::try_get(row, "public_key")?,
        user_handle: sqlx::Row::try_get(row, "user_handle")?,
        backup_eligible: sqlx::Row::try_get(row, "backup_eligible")?,
    },
);
