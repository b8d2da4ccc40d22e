use std::collections::HashMap;

use sqlx::{FromRow, Postgres};
use uuid::Uuid;

use super::{api_keys, mail_tokens, rows::UserRow, sessions};
use crate::{
    database::{Batcher, Database, Pool, Pools, Single, is_taken},
    domain::{Act, Email, LetterKind, Name, Session, SessionId, Time, User, UserId},
    error::{Error, Result},
    repositories::{IdempotencyKey, audit_log, outbox},
};

/// Accounts.
#[derive(Debug, Clone)]
pub struct Users {
    database: Database,
    /// Accounts that are read with others.
    gets: Option<Batcher<UserId, Option<User>>>,
}

/// An account that is to be created. It cannot be printed, for its password's hash.
#[derive(Clone)]
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// The address.
    pub email: Email,
    /// What the person wants to be called.
    pub display_name: Name,
    /// The password, hashed.
    pub password_hash: String,
    /// So that a repeated request creates nothing.
    pub idempotency: Option<IdempotencyKey>,
    /// Whether a message asks to verify the address.
    pub verify: bool,
}

impl Users {
    /// Accounts in this database.
    pub fn new(database: Database) -> Self {
        let gets = match &database.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres(pool) => {
                let pool = pool.clone();
                Some(Batcher::new(pool.size(), move |ids: Vec<UserId>| {
                    let pool = pool.clone();
                    Box::pin(async move { get_each(&pool, &ids).await })
                }))
            }
        };
        Self { database, gets }
    }

    /// Creates an account; `EmailTaken` if the address has one.
    pub async fn create(&self, user: &NewUser, act: &Act, now: Time) -> Result<User> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let inserted = on_engine!(&mut tx, tx => sqlx::query_as::<_, UserRow>(
                    "insert into users
                         (id, email, email_key, email_verified, display_name, password_hash,
                          create_time, update_time)
                     values ($1, $2, $3, false, $4, $5, $6, $6)
                     returning id, email, email_verified, display_name, create_time, update_time",
                )
                .bind(user.id)
                .bind(user.email.as_str())
                .bind(user.email.key())
                .bind(user.display_name.as_str())
                .bind(&user.password_hash)
                .bind(now)
                .fetch_one(&mut **tx)
                .await);

                let created = match inserted {
                    Ok(row) => row.into(),
                    Err(failure) if is_taken(&failure) => return Err(Error::EmailTaken),
                    Err(failure) => return Err(failure.into()),
                };
                if let Some(key) = &user.idempotency {
                    key.record(&mut tx, user.id.uuid(), now).await?;
                }
                if user.verify {
                    outbox::add_verification(&mut tx, user.id, now).await?;
                }
                audit_log::record(&mut tx, act, now).await?;
                tx.commit().await?;
                Ok(created)
            })
            .await
    }

    /// The account of an address, with its password hash if it has one.
    pub async fn find_by_email(&self, email: &Email) -> Result<Option<(User, Option<String>)>> {
        #[derive(FromRow)]
        struct Found {
            #[sqlx(flatten)]
            user: UserRow,
            password_hash: Option<String>,
        }

        let found = on_engine!(self.database.reader(), pool => sqlx::query_as::<_, Found>(
            "select id, email, email_verified, display_name, create_time, update_time, password_hash
             from users
             where email_key = $1",
        )
        .bind(email.key())
        .fetch_optional(pool)
        .await)?;
        Ok(found.map(|found| (found.user.into(), found.password_hash)))
    }

    /// An account.
    pub async fn get(&self, id: UserId) -> Result<User> {
        let alone = self.get_one(id);
        let found = match &self.gets {
            Some(gets) => gets.run(|| id, alone).await?,
            None => alone.await?,
        };
        found.ok_or_else(|| Error::not_found("user", id))
    }

    async fn get_one(&self, id: UserId) -> Result<Option<User>> {
        let found = on_engine!(self.database.reader(), pool => sqlx::query_as::<_, UserRow>(
            "select id, email, email_verified, display_name, create_time, update_time
             from users
             where id = $1",
        )
        .bind(id)
        .fetch_optional(pool)
        .await)?;
        Ok(found.map(User::from))
    }

    /// The password hash of an account, if it has one.
    pub async fn password_hash(&self, id: UserId) -> Result<Option<String>> {
        let found = on_engine!(self.database.reader(), pool => {
            sqlx::query_scalar::<_, Option<String>>("select password_hash from users where id = $1")
                .bind(id)
                .fetch_optional(pool)
                .await
        })?;
        found.ok_or_else(|| Error::not_found("user", id))
    }

    /// Replaces a hash by another one of the same password, unless the password
    /// was changed meanwhile.
    pub async fn rehash(&self, id: UserId, old: &str, new: &str) -> Result<()> {
        on_engine!(self.database.writer(), pool => sqlx::query(
            "update users set password_hash = $3 where id = $1 and password_hash = $2",
        )
        .bind(id)
        .bind(old)
        .bind(new)
        .execute(pool)
        .await
        .map(drop))?;
        Ok(())
    }

    /// Replaces a password, if it is still the one with the old hash: `session`
    /// goes on with a new seed, all others end, and so do messages that would reset
    /// it. Tells which sessions.
    pub async fn change_password(
        &self,
        (old, new): (&str, &str),
        session: &Session,
        act: &Act,
        now: Time,
    ) -> Result<Vec<SessionId>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let changed = on_engine!(&mut tx, tx => sqlx::query(
                    "update users
                     set password_hash = $3, update_time = $4
                     where id = $1 and password_hash = $2",
                )
                .bind(session.user_id)
                .bind(old)
                .bind(new)
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()))?;
                if changed == 0 {
                    return Err(Error::ConcurrentChange);
                }
                let ended =
                    sessions::end_all(&mut tx, session.user_id, Some(session.id), now).await?;
                sessions::reseed(&mut tx, session).await?;
                mail_tokens::delete_all(&mut tx, session.user_id, Some(LetterKind::PasswordReset))
                    .await?;
                audit_log::record(&mut tx, act, now).await?;
                tx.commit().await?;
                Ok(ended)
            })
            .await
    }

    /// Deletes an account with all its rows, if its password is still the one with
    /// that hash; tells which sessions and API keys that ended.
    pub async fn delete(&self, id: UserId, hash: &str, act: &Act, now: Time) -> Result<Vec<Uuid>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                // Nobody signs in or changes the password from here on.
                let held = on_engine!(&mut tx, tx => sqlx::query(
                    "update users set update_time = $3 where id = $1 and password_hash = $2",
                )
                .bind(id)
                .bind(hash)
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()))?;
                if held == 0 {
                    return Err(Error::ConcurrentChange);
                }
                let sessions = sessions::end_all(&mut tx, id, None, now).await?;
                let keys = api_keys::end_all(&mut tx, id, now).await?;
                for sql in [
                    "delete from idempotent_creates where owner_id = $1",
                    "delete from idempotent_creates where resource_id = $1",
                    "delete from outbox where email_key = (select email_key from users where id = $1)",
                    "delete from users where id = $1",
                ] {
                    on_engine!(&mut tx, tx => {
                        sqlx::query(sql).bind(id).execute(&mut **tx).await.map(drop)
                    })?;
                }
                audit_log::record(&mut tx, act, now).await?;
                tx.commit().await?;
                Ok(sessions
                    .into_iter()
                    .map(SessionId::uuid)
                    .chain(keys)
                    .collect())
            })
            .await
    }

    /// Changes an account; `None` leaves a field unchanged.
    pub async fn update(&self, id: UserId, display_name: Option<&Name>, now: Time) -> Result<User> {
        on_engine!(self.database.writer(), pool => sqlx::query_as::<_, UserRow>(
            "update users
             set display_name = coalesce($2, display_name), update_time = $3
             where id = $1
             returning id, email, email_verified, display_name, create_time, update_time",
        )
        .bind(id)
        .bind(display_name.map(Name::as_str))
        .bind(now)
        .fetch_optional(pool)
        .await)?
        .map(User::from)
        .ok_or_else(|| Error::not_found("user", id))
    }
}

/// Accounts, each where it was asked for.
async fn get_each(pool: &Pool<Postgres>, ids: &[UserId]) -> Result<Vec<Option<User>>> {
    let rows: Vec<UserRow> = sqlx::query_as(
        "select id, email, email_verified, display_name, create_time, update_time
         from users
         where id = any($1)",
    )
    .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(Single(pool))
    .await?;
    let found: HashMap<_, _> = rows
        .into_iter()
        .map(|row| (row.id, User::from(row)))
        .collect();
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}
