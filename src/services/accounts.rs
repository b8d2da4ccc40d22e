use crate::{
    auth::PasswordHasher,
    domain::{Email, Name, Password, User, UserId, now},
    error::{Error, Result},
    repositories::{Database, IdempotencyKey, NewUser, Users},
};

/// Opens accounts, and checks who knows their passwords.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    pub database: Database,
    pub users: Users,
    pub hasher: PasswordHasher,
}

/// What a person gives to get an account.
#[derive(Debug)]
pub(super) struct SignUp {
    pub email: Email,
    pub password: Password,
    pub display_name: Name,
}

impl Accounts {
    /// Opens an account; if the same request did before, gives that one to who
    /// knows its password.
    pub async fn open(&self, sign_up: SignUp, idempotency: Option<IdempotencyKey>) -> Result<User> {
        let SignUp {
            email,
            password,
            display_name,
        } = sign_up;
        if self.is_repeated(idempotency.as_ref()).await? {
            return self.reopen(&email, password).await;
        }

        let password_hash = self.hasher.hash(password.clone()).await?;
        let id = UserId::generate();
        let user = NewUser {
            id,
            email,
            display_name,
            password_hash,
            idempotency,
        };
        let created = self.users.create(&user, now()).await;
        if matches!(created, Err(Error::EmailTaken))
            && self.is_repeated(user.idempotency.as_ref()).await?
        {
            // The same request was faster: its first answer seemed lost too early.
            return self.reopen(&user.email, password).await;
        }
        created
    }

    async fn is_repeated(&self, idempotency: Option<&IdempotencyKey>) -> Result<bool> {
        match idempotency {
            Some(key) => Ok(key.find(&self.database, now()).await?.is_some()),
            None => Ok(false),
        }
    }

    /// The account that a request opened before; with another password it is
    /// another request.
    async fn reopen(&self, email: &Email, password: Password) -> Result<User> {
        let opened = self.check(email, password).await;
        opened.map_err(|error| match error {
            Error::CredentialsInvalid => IdempotencyKey::used_otherwise(),
            error => error,
        })
    }

    /// The account of an address, for who knows its password. An unknown
    /// address costs the same work and gets the same answer.
    pub async fn check(&self, email: &Email, password: Password) -> Result<User> {
        let (user, hash) = self.users.find_by_email(email).await?.unzip();
        let matches = self.hasher.verify(password, hash.flatten()).await?;
        user.filter(|_| matches).ok_or(Error::CredentialsInvalid)
    }
}
