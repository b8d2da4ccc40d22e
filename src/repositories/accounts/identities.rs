use uuid::Uuid;

use super::{api_keys, email_change_rows, factor_rows};
use crate::{
    database::{Database, Transaction, on_unique_violation},
    domain::{AuditContext, Identity, Profile, RequestOrigin, Time, User, UserId},
    error::{Error, Result},
    repositories::{
        audit_log,
        projects::takeover::{NewStreamKey, take_over_projects},
        sql::user_columns,
    },
};

/// The maximum number of attempts, when concurrent calls sign in the same identity.
const MAX_ATTEMPTS: usize = 3;

/// Identities at other issuers. Each one signs in to one account.
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
    /// The ids of sessions and API keys that ended, because the identity proved the address.
    pub ended: Vec<Uuid>,
}

impl Identities {
    /// Identities in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Signs in to the account of an identity. A new identity is linked to the account of
    /// its address, or an account is created.
    ///
    /// `EmailTaken` if the address has an account, but the issuer is not authoritative for
    /// it; `Invalid` if a new identity has no address.
    pub async fn sign_in(
        &self,
        identity: &Identity,
        new_stream_key: NewStreamKey<'_>,
        origin: &RequestOrigin,
        now: Time,
    ) -> Result<SignedIn> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(user) = self.find(identity).await? {
                return Ok(SignedIn::new(user, false));
            }
            match self.link(identity, new_stream_key, origin, now).await {
                // A concurrent call has signed in the identity.
                Err(Error::ConcurrentChange) => {}
                linked => return linked,
            }
        }
        Err(Error::ConcurrentChange)
    }

    async fn find(&self, identity: &Identity) -> Result<Option<User>> {
        fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                user_columns!("u."),
                " from identities i
                 join users u on u.id = i.user_id
                 where i.issuer = $1 and i.subject = $2",
            ),
            [&identity.issuer, &identity.subject]
        )
    }

    async fn link(
        &self,
        identity: &Identity,
        new_stream_key: NewStreamKey<'_>,
        origin: &RequestOrigin,
        now: Time,
    ) -> Result<SignedIn> {
        let Some(profile) = &identity.profile else {
            return Err(Error::invalid(
                "id_token",
                "must carry an e-mail address: ask the issuer for the scope email",
            ));
        };

        self.database
            .transaction(|mut tx| async move {
                let mut projects = Vec::new();
                let linked = match account_of(&mut tx, profile).await? {
                    // Checked after the account: one transaction created both.
                    Some(_) if exists(&mut tx, identity).await? => {
                        return Err(Error::ConcurrentChange);
                    }
                    Some(_) if !profile.email_verified => return Err(Error::EmailTaken),
                    Some(account) => {
                        let linked = take_over(&mut tx, account, now).await?;
                        if linked.is_first_proof {
                            projects =
                                take_over_projects(&mut tx, account, new_stream_key, now).await?;
                        }
                        linked.signed_in
                    }
                    None => create(&mut tx, profile, now).await?,
                };
                insert(&mut tx, identity, linked.user.id, now).await?;
                let audit = AuditContext::for_user(
                    "SignInWithIdToken",
                    Some(linked.user.id),
                    origin.clone(),
                );
                audit_log::record(&mut tx, &audit, now).await?;
                self.database.commit_changes(tx, projects).await?;
                Ok(linked)
            })
            .await
    }
}

impl SignedIn {
    fn new(user: User, created: bool) -> Self {
        Self {
            user,
            created,
            ended: Vec::new(),
        }
    }
}

/// The account of the address.
async fn account_of(tx: &mut Transaction, profile: &Profile) -> Result<Option<UserId>> {
    fetch_optional_scalar!(
        tx,
        "select id from users where email_key = $1",
        [profile.email.key()]
    )
}

async fn exists(tx: &mut Transaction, identity: &Identity) -> Result<bool> {
    exists!(
        tx,
        "select user_id from identities where issuer = $1 and subject = $2",
        [&identity.issuer, &identity.subject]
    )
}

/// An account that is linked to an identity.
struct TakenOver {
    signed_in: SignedIn,
    /// Whether the address was not proved before.
    is_first_proof: bool,
}

/// Links to the account of a proved address. If the address was not proved before, every
/// other way to use the account ends. `ConcurrentChange` if the account is deleted meanwhile.
async fn take_over(tx: &mut Transaction, id: UserId, now: Time) -> Result<TakenOver> {
    // One statement checks and changes, so that of two identities that prove the address
    // at once the second one finds it proved.
    let proved: Option<User> = fetch_optional!(
        tx,
        concat!(
            "update users
             set email_verified = true, password_hash = null, update_time = $2
             where id = $1 and not email_verified and delete_time is null
             returning ",
            user_columns!(""),
        ),
        [id, now]
    )?;
    if let Some(user) = proved {
        let ended = api_keys::end_access(tx, id, now).await?;
        execute!(tx, "delete from identities where user_id = $1", [id])?;
        factor_rows::delete_all(tx, id).await?;
        email_change_rows::withdraw(tx, id, now).await?;
        let signed_in = SignedIn {
            ended,
            ..SignedIn::new(user, false)
        };
        return Ok(TakenOver {
            signed_in,
            is_first_proof: true,
        });
    }

    // Locks the account until the identity is linked.
    let user: User = fetch_optional!(
        tx,
        concat!(
            "update users
             set update_time = $2
             where id = $1 and delete_time is null
             returning ",
            user_columns!("")
        ),
        [id, now]
    )?
    .ok_or(Error::ConcurrentChange)?;
    Ok(TakenOver {
        signed_in: SignedIn::new(user, false),
        is_first_proof: false,
    })
}

/// Creates an account without a password.
async fn create(tx: &mut Transaction, profile: &Profile, now: Time) -> Result<SignedIn> {
    let user = fetch_one!(
        tx,
        concat!(
            "insert into users
                 (id, email, email_key, email_verified, display_name, password_hash,
                  create_time, update_time)
             values ($1, $2, $3, $4, $5, null, $6, $6)
             returning ",
            user_columns!(""),
        ),
        [
            UserId::generate(),
            profile.email.as_str(),
            profile.email.key(),
            profile.email_verified,
            profile.display_name.as_str(),
            now
        ]
    )
    .map_err(on_unique_violation(Error::ConcurrentChange))?;
    Ok(SignedIn::new(user, true))
}

async fn insert(tx: &mut Transaction, identity: &Identity, id: UserId, now: Time) -> Result<()> {
    execute!(
        tx,
        "insert into identities (issuer, subject, user_id, create_time)
         values ($1, $2, $3, $4)",
        [&identity.issuer, &identity.subject, id, now]
    )
    .map_err(on_unique_violation(Error::ConcurrentChange))
}
