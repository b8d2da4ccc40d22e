use std::collections::HashMap;

use sqlx::FromRow;
use sqlx_postgres::Postgres;
use uuid::Uuid;

use super::{api_keys, factor_rows, mail_tokens, notices::Notices, session_rows};
use crate::{
    database::{Autocommit, Batcher, Database, Pool, Pools, Transaction, on_unique_violation},
    domain::{
        AuditContext, Email, EmailChange, EmailKind, Name, OrganizationId, Session, SessionId,
        Time, User, UserId,
    },
    error::{Error, Result},
    repositories::{
        IdempotencyKey, audit_log, idempotency::change_once, organizations, outbox,
        projects::deletion, sql::user_columns,
    },
};

/// The most projects whose streams end in the transaction that deletes their account. Those of
/// the others end within seconds.
const MAX_LIVE_PROJECTS: i64 = 100;

/// Accounts.
#[derive(Debug, Clone)]
pub struct Users {
    database: Database,
    notices: Notices,
    /// Batches reads on PostgreSQL. A read of SQLite has no round trip to save.
    gets: Option<Batcher<UserId, Option<Account>>>,
}

/// An account, with its requested change of the address.
#[derive(Clone, FromRow)]
struct Account {
    #[sqlx(flatten)]
    user: User,
    new_email: Option<String>,
    request_time: Option<Time>,
    expire_time: Option<Time>,
    current_confirm_time: Option<Time>,
    new_confirm_time: Option<Time>,
}

/// Selects [`Account`]s: users `u`.
macro_rules! select_accounts {
    () => {
        concat!(
            "select ",
            user_columns!("u."),
            ", c.new_email, c.create_time as request_time, c.expire_time, c.current_confirm_time,
               c.new_confirm_time
             from users u
             left join email_changes c on c.user_id = u.id
             where u.delete_time is null and "
        )
    };
}

/// An account to create. Not `Debug`, because it contains a password hash.
#[derive(Clone)]
pub struct NewUser {
    /// The id.
    pub id: UserId,
    /// The e-mail address.
    pub email: Email,
    /// The name of the person.
    pub display_name: Name,
    /// The hash of the password.
    pub password_hash: String,
    /// The identity of the request, so that a repeated one creates no second account.
    pub idempotency: Option<IdempotencyKey>,
    /// Whether to send a message that asks to verify the address.
    pub verify: bool,
}

impl Users {
    /// Accounts in this database.
    pub fn new(database: Database) -> Self {
        let gets = match &database.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { reader, .. } => {
                let pool = reader.clone();
                Some(Batcher::new(pool.batch_limits(), move |ids| {
                    Box::pin(get_each(pool.clone(), ids))
                }))
            }
        };
        Self {
            database,
            notices: Notices::default(),
            gets,
        }
    }

    /// Queues notices of changes.
    #[must_use]
    pub fn with_notices(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }

    /// Creates an account. `EmailTaken` if the address has one.
    pub async fn create(&self, user: &NewUser, audit: &AuditContext, now: Time) -> Result<User> {
        self.database
            .transaction(|mut tx| async move {
                let created: User = fetch_one!(
                    tx,
                    concat!(
                        "insert into users
                             (id, email, email_key, email_verified, display_name, password_hash,
                              create_time, update_time)
                         values ($1, $2, $3, false, $4, $5, $6, $6)
                         returning ",
                        user_columns!(""),
                    ),
                    [
                        user.id,
                        user.email.as_str(),
                        user.email.key(),
                        user.display_name.as_str(),
                        &user.password_hash,
                        now
                    ]
                )
                .map_err(on_unique_violation(Error::EmailTaken))?;
                if let Some(key) = &user.idempotency {
                    key.record(&mut tx, user.id.uuid(), now).await?;
                }
                if user.verify {
                    outbox::add_verification(&mut tx, user.id, now).await?;
                }
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(created).await
            })
            .await
    }

    /// The account of an address, with its password hash if it has one.
    pub async fn find_by_email(&self, email: &Email) -> Result<Option<(User, Option<String>)>> {
        #[derive(FromRow)]
        struct Found {
            #[sqlx(flatten)]
            user: User,
            password_hash: Option<String>,
        }

        let found: Option<Found> = fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                user_columns!(""),
                ", password_hash
                 from users
                 where email_key = $1 and delete_time is null",
            ),
            [email.key()]
        )?;
        Ok(found.map(|found| (found.user, found.password_hash)))
    }

    /// An account.
    pub async fn get(&self, id: UserId) -> Result<User> {
        Ok(self.get_account(id).await?.user)
    }

    /// An account, with its requested change of the address if that has not expired.
    pub async fn get_with_email_change(
        &self,
        id: UserId,
        now: Time,
    ) -> Result<(User, Option<EmailChange>)> {
        let account = self.get_account(id).await?;
        let change = account.email_change();
        let change = change.filter(|change| change.expire_time > now);
        Ok((account.user, change))
    }

    async fn get_account(&self, id: UserId) -> Result<Account> {
        let alone = async {
            fetch_optional!(
                self.database.reader(),
                concat!(select_accounts!(), "u.id = $1"),
                [id]
            )
        };
        let found = match &self.gets {
            Some(gets) => gets.run(|| id, alone).await?,
            None => alone.await?,
        };
        found.ok_or_else(|| Error::not_found("user", id))
    }

    /// The password hash of an account, if it has one.
    pub async fn password_hash(&self, id: UserId) -> Result<Option<String>> {
        let found: Option<Option<String>> = fetch_optional_scalar!(
            self.database.reader(),
            "select password_hash from users where id = $1 and delete_time is null",
            [id]
        )?;
        found.ok_or_else(|| Error::not_found("user", id))
    }

    /// Replaces the hash by another one of the same password, unless the password was
    /// changed meanwhile.
    pub async fn rehash(&self, id: UserId, old: &str, new: &str) -> Result<()> {
        execute!(
            self.database.writer(),
            "update users set password_hash = $3 where id = $1 and password_hash = $2",
            [id, old, new]
        )
    }

    /// Replaces the password if it still has the old hash. `session` gets a new seed. All
    /// other sessions end, and so do the tokens of password resets. Returns the ids of the
    /// ended sessions.
    pub async fn change_password(
        &self,
        (old, new): (&str, &str),
        session: &Session,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<SessionId>> {
        self.database
            .transaction(|mut tx| async move {
                let changed = rows_affected!(
                    tx,
                    "update users
                     set password_hash = $3, update_time = $4
                     where id = $1 and password_hash = $2",
                    [session.user_id, old, new, now]
                )?;
                if changed == 0 {
                    return Err(Error::ConcurrentChange);
                }
                let ended =
                    session_rows::revoke_all(&mut tx, session.user_id, Some(session.id), now)
                        .await?;
                session_rows::reseed(&mut tx, session).await?;
                mail_tokens::delete_all(&mut tx, session.user_id, Some(EmailKind::PasswordReset))
                    .await?;
                let (notices, user, kind) =
                    (self.notices, session.user_id, EmailKind::ChangedPassword);
                notices.queue(&mut tx, user, kind, "", now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(ended).await
            })
            .await
    }

    /// Deletes an account, if its password still has this hash: it and its projects cannot be
    /// found any more, and their live streams end. What its rows say of the person is erased;
    /// they are deleted later ([`Deletions`]), and so are the projects without a live stream.
    /// Returns the ids of the ended sessions and API keys.
    ///
    /// Its other memberships end. Organizations without another member are deleted too; `LastOwner`
    /// if one with other members would have no owner.
    ///
    /// [`Deletions`]: crate::repositories::Deletions
    pub async fn delete(
        &self,
        id: UserId,
        hash: &str,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        let personal = OrganizationId::personal(id);
        // Read before, so that nothing else waits for it. A stream that begins meanwhile ends
        // with the deletion of its project.
        let live = &deletion::live_projects(&self.database, personal, MAX_LIVE_PROJECTS).await?;
        let ended = self
            .database
            .transaction(|mut tx| async move {
                // Locks the account: no call can sign in or change the password from now on.
                let locked = rows_affected!(
                    tx,
                    "update users set update_time = $3 where id = $1 and password_hash = $2",
                    [id, hash, now]
                )?;
                if locked == 0 {
                    return Err(Error::ConcurrentChange);
                }
                let ended = api_keys::end_access(&mut tx, id, now).await?;
                for sql in [
                    "delete from idempotent_creates where resource_id = $1",
                    "delete from outbox
                     where email_key = (select email_key from users where id = $1)",
                    "delete from mail_tokens where user_id = $1",
                    "delete from identities where user_id = $1",
                    "delete from known_networks where user_id = $1",
                    "delete from email_changes where user_id = $1",
                    "update sessions
                     set refresh_seed = substr(refresh_seed, 1, 0), peer_address = '',
                         user_agent = ''
                     where user_id = $1",
                ] {
                    execute!(tx, sql, [id])?;
                }
                factor_rows::delete_all(&mut tx, id).await?;
                organizations::rows::leave_all(&mut tx, id, now).await?;
                for project_id in live {
                    deletion::delete_of_owner(&mut tx, *project_id, now).await?;
                }
                mark_deleted(&mut tx, id, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(ended).await
            })
            .await?;
        for project_id in live {
            self.database.change_notifications().notify(*project_id);
        }
        Ok(ended)
    }

    /// Updates an account. `None` leaves a field unchanged. A repeated request changes nothing.
    pub async fn update(
        &self,
        id: UserId,
        display_name: Option<&Name>,
        idempotency: Option<&IdempotencyKey>,
        now: Time,
    ) -> Result<User> {
        let update = self.database.transaction(|mut tx| async move {
            let updated: Option<User> = fetch_optional!(
                tx,
                concat!(
                    "update users
                     set display_name = coalesce($2, display_name), update_time = $3
                     where id = $1 and delete_time is null
                     returning ",
                    user_columns!(""),
                ),
                [id, display_name.map(Name::as_str), now]
            )?;
            let updated = updated.ok_or_else(|| Error::not_found("user", id))?;
            if let Some(key) = idempotency {
                key.record(&mut tx, id.uuid(), now).await?;
            }
            tx.commit(updated).await
        });
        change_once(&self.database, idempotency, now, update, |_| self.get(id)).await
    }
}

impl Account {
    fn email_change(&self) -> Option<EmailChange> {
        Some(EmailChange {
            new_email: self.new_email.clone()?,
            create_time: self.request_time?,
            expire_time: self.expire_time?,
            current_confirm_time: self.current_confirm_time,
            new_confirm_time: self.new_confirm_time,
        })
    }
}

/// Marks a locked account as deleted, and erases its person. The address is free.
async fn mark_deleted(tx: &mut Transaction, id: UserId, now: Time) -> Result<()> {
    execute!(
        tx,
        "update users
         set delete_time = $2, email = '', email_key = $3, email_verified = false,
             display_name = '', password_hash = null
         where id = $1",
        // Unique, and no address.
        [id, now, id.to_string()]
    )
}

/// The accounts with these ids, in their order.
async fn get_each(pool: Pool<Postgres>, ids: Vec<UserId>) -> Result<Vec<Option<Account>>> {
    let rows: Vec<Account> = sqlx::query_as(concat!(select_accounts!(), "u.id = any($1)"))
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(Autocommit(&pool))
        .await?;
    let rows = rows.into_iter();
    let found: HashMap<_, _> = rows.map(|account| (account.user.id, account)).collect();
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}
