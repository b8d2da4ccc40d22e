use uuid::Uuid;

use super::{api_keys, session_rows::require_active};
use crate::{
    database::Database,
    domain::{AuditContext, Email, Page, Time, User, UserAccount, UserFilter, UserId, UserState},
    error::{Error, Result},
    repositories::{audit_log, sql::user_columns},
};

/// Accounts of users, for operators.
#[derive(Debug, Clone)]
pub struct UserAccounts {
    database: Database,
}

/// Selects [`UserAccount`]s: users `u`.
macro_rules! select_accounts {
    () => {
        concat!(
            "select ",
            user_columns!("u."),
            ", u.suspend_time,
               (select count(*)
                from projects p
                where p.owner_id = u.id and p.delete_time is null) as project_count,
               (select count(*)
                from projects p
                join streams s on s.project_id = p.id and s.end_time is null
                where p.owner_id = u.id and p.delete_time is null) as live_stream_count
             from users u
             where u.delete_time is null and "
        )
    };
}

/// Selects a page of accounts that meet another condition, on the address `$2`.
macro_rules! select_page {
    ($condition:literal) => {
        concat!(
            select_accounts!(),
            $condition,
            " and u.id < $1
              and ($3 is null or ($3 = 'suspended') = (u.suspend_time is not null))
              and u.create_time > $4 and u.create_time < $5
             order by u.id desc
             limit $6"
        )
    };
}

impl UserAccounts {
    /// Accounts in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The accounts that meet a filter, newest first.
    pub async fn list(&self, filter: &UserFilter, page: Page) -> Result<Vec<UserAccount>> {
        // Two statements, so that the index on the address is used.
        let sql = match filter.email {
            Some(_) => select_page!("u.email_key = $2"),
            None => select_page!("$2 is null"),
        };
        fetch_all!(
            self.database.reader(),
            sql,
            [
                page.below,
                filter.email.as_ref().map(Email::key),
                filter.state.map(UserState::as_str),
                filter.created.after,
                filter.created.before,
                page.limit()
            ]
        )
    }

    /// An account.
    pub async fn get(&self, id: UserId) -> Result<UserAccount> {
        fetch_optional!(
            self.database.writer(),
            concat!(select_accounts!(), "u.id = $1"),
            [id]
        )?
        .ok_or_else(|| Error::not_found("user", id))
    }

    /// Suspends an account: its sessions and API keys end. Returns their ids. Changes nothing if
    /// it is suspended already.
    pub async fn suspend(&self, id: UserId, audit: &AuditContext, now: Time) -> Result<Vec<Uuid>> {
        self.database
            .transaction(|mut tx| async move {
                // Locks the account: no call can sign in from now on.
                let suspended = rows_affected!(
                    tx,
                    "update users
                     set suspend_time = $2
                     where id = $1 and delete_time is null and suspend_time is null",
                    [id, now]
                )?;
                if suspended == 0 {
                    return tx.rollback(Vec::new()).await;
                }
                require_active(&mut tx, audit).await?;
                let ended = api_keys::end_access(&mut tx, id, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(ended).await
            })
            .await
    }

    /// Ends the suspension of an account. Changes nothing if it is active.
    pub async fn resume(&self, id: UserId, audit: &AuditContext, now: Time) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let resumed = rows_affected!(
                    tx,
                    "update users
                     set suspend_time = null
                     where id = $1 and delete_time is null and suspend_time is not null",
                    [id]
                )?;
                if resumed == 0 {
                    return tx.rollback(()).await;
                }
                require_active(&mut tx, audit).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(()).await
            })
            .await
    }
}

impl_from_row!(
    UserAccount:
    suspend_time, project_count, live_stream_count;
    |row|
    user: User::from_row(row)?,
);
