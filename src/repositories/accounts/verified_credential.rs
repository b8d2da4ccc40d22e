use crate::{
    database::Transaction,
    domain::{Identity, UserId},
    error::Result,
    repositories::CountedAttempt,
};

/// A credential of an account that was verified before the transaction.
#[derive(Debug)]
pub enum VerifiedCredential<'a> {
    /// The password.
    Password {
        /// The hash against which the password was checked.
        hash: &'a str,
        /// The counted attempt, unless the account is new.
        attempt: Option<&'a CountedAttempt>,
    },
    /// An identity at another issuer.
    Identity(&'a Identity),
}

impl VerifiedCredential<'_> {
    /// Whether the credential is still valid, until the transaction ends.
    pub(super) async fn is_valid(&self, tx: &mut Transaction, user_id: UserId) -> Result<bool> {
        // On SQLite nothing else writes meanwhile.
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
