use uuid::Uuid;

use super::{api_keys, rows::UserRow, sessions};
use crate::{
    database::{Database, Transaction, is_taken},
    domain::{Act, Identity, Origin, Profile, SessionId, Time, User, UserId},
    error::{Error, Result},
    repositories::audit_log,
};

/// How often to look again when other calls for the same person are faster.
const ATTEMPTS: usize = 3;

/// Identities at other issuers, each of which signs in to one account.
#[derive(Debug, Clone)]
pub struct Identities {
    database: Database,
}

/// The account of an identity.
#[derive(Debug)]
pub struct SignedIn {
    /// The account.
    pub user: User,
    /// Whether it was created for the identity.
    pub created: bool,
    /// The sessions and API keys that ended because the identity proved the address.
    pub ended: Vec<Uuid>,
}

impl Identities {
    /// Identities in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The account of an identity. One that is not known yet is linked to the
    /// account of its address, or gets an account.
    ///
    /// `EmailTaken` if the address has an account, and the issuer is not
    /// authoritative for it; `Invalid` if there is no address.
    pub async fn sign_in(
        &self,
        identity: &Identity,
        origin: &Origin,
        now: Time,
    ) -> Result<SignedIn> {
        for _ in 0..ATTEMPTS {
            if let Some(user) = self.find(identity).await? {
                return Ok(SignedIn::known(user));
            }
            match self.add(identity, origin, now).await {
                // Another call for this person was faster.
                Err(Error::ConcurrentChange) => {}
                added => return added,
            }
        }
        Err(Error::ConcurrentChange)
    }

    async fn find(&self, identity: &Identity) -> Result<Option<User>> {
        let row = on_engine!(self.database.reader(), pool => sqlx::query_as::<_, UserRow>(
            "select u.id, u.email, u.email_verified, u.display_name, u.create_time, u.update_time
             from identities i
             join users u on u.id = i.user_id
             where i.issuer = $1 and i.subject = $2",
        )
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .fetch_optional(pool)
        .await)?;
        Ok(row.map(User::from))
    }

    async fn add(&self, identity: &Identity, origin: &Origin, now: Time) -> Result<SignedIn> {
        let Some(profile) = &identity.profile else {
            return Err(Error::invalid(
                "id_token",
                "must carry an e-mail address: ask the issuer for the scope email",
            ));
        };

        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let added = match account_of(&mut tx, profile).await? {
                    // After the account: what made it also made the identity.
                    Some(_) if is_known(&mut tx, identity).await? => {
                        return Err(Error::ConcurrentChange);
                    }
                    Some(_) if !profile.email_proved => return Err(Error::EmailTaken),
                    Some(account) => take_over(&mut tx, account, now).await?,
                    None => create(&mut tx, profile, now).await?,
                };
                insert(&mut tx, identity, added.user.id, now).await?;
                let act = Act::of_user("SignInWithIdToken", Some(added.user.id), origin.clone());
                audit_log::record(&mut tx, &act, now).await?;
                tx.commit().await?;
                Ok(added)
            })
            .await
    }
}

impl SignedIn {
    fn known(user: User) -> Self {
        Self {
            user,
            created: false,
            ended: Vec::new(),
        }
    }
}

/// The account of the address.
async fn account_of(tx: &mut Transaction, profile: &Profile) -> Result<Option<UserId>> {
    Ok(on_engine!(tx, tx => {
        sqlx::query_scalar::<_, UserId>("select id from users where email_key = $1")
            .bind(profile.email.key())
            .fetch_optional(&mut **tx)
            .await
    })?)
}

async fn is_known(tx: &mut Transaction, identity: &Identity) -> Result<bool> {
    let found = on_engine!(tx, tx => sqlx::query_scalar::<_, UserId>(
        "select user_id from identities where issuer = $1 and subject = $2",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .fetch_optional(&mut **tx)
    .await)?;
    Ok(found.is_some())
}

/// Gives an account to the person whose address it has. If nobody had proved the
/// address before, nothing that opens the account stays.
async fn take_over(tx: &mut Transaction, id: UserId, now: Time) -> Result<SignedIn> {
    // Checks and changes in one statement, so that of two identities that prove
    // the address at once the second one finds it proved.
    let proved = on_engine!(&mut *tx, tx => sqlx::query_as::<_, UserRow>(
        "update users
         set email_verified = true, password_hash = null, update_time = $2
         where id = $1 and not email_verified
         returning id, email, email_verified, display_name, create_time, update_time",
    )
    .bind(id)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await)?;
    if let Some(row) = proved {
        return Ok(SignedIn {
            user: row.into(),
            created: false,
            ended: close(tx, id, now).await?,
        });
    }

    // Holds the account until the identity is linked.
    let row = on_engine!(tx, tx => sqlx::query_as::<_, UserRow>(
        "update users
         set update_time = $2
         where id = $1
         returning id, email, email_verified, display_name, create_time, update_time",
    )
    .bind(id)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await)?;
    let user = row.map(User::from).ok_or(Error::ConcurrentChange)?;
    Ok(SignedIn::known(user))
}

/// Ends all sessions, API keys and identities of an account; tells which
/// sessions and API keys those were.
async fn close(tx: &mut Transaction, id: UserId, now: Time) -> Result<Vec<Uuid>> {
    let sessions = sessions::end_all(tx, id, None, now).await?;
    let keys = api_keys::end_all(tx, id, now).await?;
    on_engine!(tx, tx => {
        sqlx::query("delete from identities where user_id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await
            .map(drop)
    })?;
    Ok(sessions
        .into_iter()
        .map(SessionId::uuid)
        .chain(keys)
        .collect())
}

/// Creates an account without a password.
async fn create(tx: &mut Transaction, profile: &Profile, now: Time) -> Result<SignedIn> {
    let inserted = on_engine!(tx, tx => sqlx::query_as::<_, UserRow>(
        "insert into users
             (id, email, email_key, email_verified, display_name, password_hash,
              create_time, update_time)
         values ($1, $2, $3, $4, $5, null, $6, $6)
         returning id, email, email_verified, display_name, create_time, update_time",
    )
    .bind(UserId::generate())
    .bind(profile.email.as_str())
    .bind(profile.email.key())
    .bind(profile.email_proved)
    .bind(profile.display_name.as_str())
    .bind(now)
    .fetch_one(&mut **tx)
    .await);
    let row = match inserted {
        Ok(row) => row,
        Err(failure) if is_taken(&failure) => return Err(Error::ConcurrentChange),
        Err(failure) => return Err(failure.into()),
    };
    Ok(SignedIn {
        user: row.into(),
        created: true,
        ended: Vec::new(),
    })
}

async fn insert(tx: &mut Transaction, identity: &Identity, id: UserId, now: Time) -> Result<()> {
    let inserted = on_engine!(tx, tx => sqlx::query(
        "insert into identities (issuer, subject, user_id, create_time)
         values ($1, $2, $3, $4)",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(id)
    .bind(now)
    .execute(&mut **tx)
    .await
    .map(drop));
    match inserted {
        Err(failure) if is_taken(&failure) => Err(Error::ConcurrentChange),
        inserted => Ok(inserted?),
    }
}
