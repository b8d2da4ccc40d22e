//! What has to hold still when something is done for who showed it before.

use crate::{
    database::Transaction,
    domain::{Identity, SessionId, Time, UserId},
    error::Result,
    repositories::Guess,
};

/// What shows that an account is somebody's.
#[derive(Debug)]
pub enum Proof<'a> {
    /// Its password.
    Password {
        /// The hash that the password was checked against.
        hash: &'a str,
        /// The attempt, unless the account is new.
        guess: Option<&'a Guess>,
    },
    /// An identity at another issuer.
    Identity(&'a Identity),
}

impl Proof<'_> {
    /// Whether a proof holds, until the transaction ends.
    pub(crate) async fn holds(&self, tx: &mut Transaction, user_id: UserId) -> Result<bool> {
        // On SQLite nobody else writes meanwhile.
        let sql = match (&*tx, self) {
            (Transaction::Postgres(_), Self::Password { .. }) => {
                "select id from users where id = $1 and password_hash = $2 for share"
            }
            (Transaction::Sqlite(_), Self::Password { .. }) => {
                "select id from users where id = $1 and password_hash = $2"
            }
            (Transaction::Postgres(_), Self::Identity(_)) => {
                "select user_id from identities
                 where user_id = $1 and issuer = $2 and subject = $3 for share"
            }
            (Transaction::Sqlite(_), Self::Identity(_)) => {
                "select user_id from identities
                 where user_id = $1 and issuer = $2 and subject = $3"
            }
        };
        let found = on_engine!(tx, tx => {
            let query = sqlx::query_scalar::<_, UserId>(sql).bind(user_id);
            let query = match self {
                Self::Password { hash, .. } => query.bind(*hash),
                Self::Identity(identity) => query.bind(&identity.issuer).bind(&identity.subject),
            };
            query.fetch_optional(&mut **tx).await
        })?;
        Ok(found.is_some())
    }
}

/// Whether a session of a user goes on, until the transaction ends.
pub(crate) async fn goes_on(
    tx: &mut Transaction,
    user_id: UserId,
    id: SessionId,
    now: Time,
) -> Result<bool> {
    let sql = match tx {
        Transaction::Postgres(_) => {
            "select id from sessions
             where user_id = $1 and id = $2 and revoke_time is null and expire_time > $3
             for share"
        }
        Transaction::Sqlite(_) => {
            "select id from sessions
             where user_id = $1 and id = $2 and revoke_time is null and expire_time > $3"
        }
    };
    let found = on_engine!(tx, tx => sqlx::query_scalar::<_, SessionId>(sql)
        .bind(user_id)
        .bind(id)
        .bind(now)
        .fetch_optional(&mut **tx)
        .await)?;
    Ok(found.is_some())
}
