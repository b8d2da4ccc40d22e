use uuid::Uuid;

use super::{
    messages::ChangePassword,
    turns::{Turn, Turns},
};
use crate::{
    auth::{HashSlot, PasswordHasher, Verdict},
    domain::{Act, Email, Name, Origin, Password, Session, SessionId, User, UserId, now},
    error::{Error, Result},
    repositories::{AuditLog, Database, Guess, Guesses, IdempotencyKey, NewUser, Outbox, Users},
};

/// Opens, changes and deletes accounts, and checks who knows their passwords.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    pub database: Database,
    pub users: Users,
    pub guesses: Guesses,
    pub turns: Turns,
    pub audit_log: AuditLog,
    pub hasher: PasswordHasher,
    /// Where messages are put; none if mail is off.
    pub outbox: Option<Outbox>,
}

/// What a person gives to get an account.
#[derive(Debug)]
pub(super) struct SignUp {
    pub email: Email,
    pub password: Password,
    pub display_name: Name,
}

/// Somebody who showed that the account is theirs.
#[derive(Debug)]
pub(super) struct Known {
    pub user: User,
    /// The attempt that showed it, which counts as a failure until a session begins.
    pub attempt: Option<Attempt>,
}

/// An attempt to sign in, and the turn in which it is made.
#[derive(Debug)]
pub(super) struct Attempt {
    pub guess: Guess,
    /// The hash that the password belongs to.
    pub hash: String,
    _turn: Turn,
}

impl Accounts {
    /// Opens an account; if the same request did before, gives that one to who
    /// knows its password.
    pub async fn open(
        &self,
        sign_up: SignUp,
        idempotency: Option<IdempotencyKey>,
        origin: &Origin,
    ) -> Result<Known> {
        let SignUp {
            email,
            password,
            display_name,
        } = sign_up;
        if self.is_repeated(idempotency.as_ref()).await? {
            return self.reopen(&email, password, origin).await;
        }

        let password_hash = self.hasher.admit()?.hash(password.clone()).await?;
        let id = UserId::generate();
        let user = NewUser {
            id,
            email,
            display_name,
            password_hash,
            idempotency,
            verify: self.outbox.is_some(),
        };
        let act = Act::of_user("SignUp", Some(id), origin.clone());
        let created = self.users.create(&user, &act, now()).await;
        if matches!(created, Err(Error::EmailTaken))
            && self.is_repeated(user.idempotency.as_ref()).await?
        {
            // The same request was faster: its first answer seemed lost too early.
            return self.reopen(&user.email, password, origin).await;
        }
        let user = created?;
        self.outbox.iter().for_each(Outbox::ring);
        Ok(Known {
            user,
            attempt: None,
        })
    }

    async fn is_repeated(&self, idempotency: Option<&IdempotencyKey>) -> Result<bool> {
        match idempotency {
            Some(key) => Ok(key.find(&self.database, now()).await?.is_some()),
            None => Ok(false),
        }
    }

    /// The account that a request opened before; with another password it is
    /// another request.
    async fn reopen(&self, email: &Email, password: Password, origin: &Origin) -> Result<Known> {
        let opened = self.check(email, password, origin).await;
        opened.map_err(|error| match error {
            Error::CredentialsInvalid => IdempotencyKey::used_otherwise(),
            error => error,
        })
    }

    /// The account of an address, for who knows its password. An unknown
    /// address, and an account without a password, cost the same work and get
    /// the same answer.
    pub async fn check(&self, email: &Email, password: Password, origin: &Origin) -> Result<Known> {
        let turn = self.turns.take(email).await?;
        // In this order: a call that is turned away costs nothing, and an attempt
        // counts before its password is looked at.
        let slot = self.hasher.admit()?;
        let guess = self.guesses.sign_in(email, origin, now()).await?;
        let (user, hash) = self.users.find_by_email(email).await?.unzip();

        let hash = hash.flatten();
        let verdict = slot.verify(password.clone(), hash.clone()).await?;
        match (user, hash, verdict) {
            (Some(user), Some(hash), Verdict::Right { outdated }) => {
                let hash = match outdated {
                    true => self.rehash(&slot, user.id, password, &hash).await?,
                    false => hash,
                };
                let attempt = Some(Attempt {
                    guess,
                    hash,
                    _turn: turn,
                });
                Ok(Known { user, attempt })
            }
            (user, ..) => {
                let user = user.map(|user| user.id);
                let act = Act::of_user("SignIn", user, origin.clone());
                Err(self.wrong_password(&act).await?)
            }
        }
    }

    /// Replaces a hash by one of the cost of the settings.
    async fn rehash(
        &self,
        slot: &HashSlot,
        user: UserId,
        password: Password,
        old: &str,
    ) -> Result<String> {
        let new = slot.hash(password).await?;
        self.users.rehash(user, old, &new).await?;
        Ok(new)
    }

    /// Replaces a password; tells which sessions that ended.
    pub async fn change(
        &self,
        user: &User,
        change: ChangePassword,
        session: &Session,
        act: &Act,
    ) -> Result<impl Iterator<Item = Uuid> + use<>> {
        let ChangePassword { current, new } = change;
        let (slot, old) = self
            .reauthenticate((user.id, session.id), current, act)
            .await?;

        let new = slot.hash(new).await?;
        let ended = self
            .users
            .change_password(user.id, (&old, &new), session, act, now())
            .await?;
        Ok(ended.into_iter().map(SessionId::uuid))
    }

    /// Deletes an account; tells which sessions and API keys that ended.
    pub async fn delete(
        &self,
        (user, session): (UserId, SessionId),
        password: Password,
        act: &Act,
    ) -> Result<Vec<Uuid>> {
        self.reauthenticate((user, session), password, act).await?;
        self.users.delete(user, act, now()).await
    }

    /// Checks the password of who has a session; gives its hash, and the slot
    /// for more work on it.
    async fn reauthenticate(
        &self,
        (user, session): (UserId, SessionId),
        password: Password,
        act: &Act,
    ) -> Result<(HashSlot, String)> {
        let slot = self.hasher.admit()?;
        let guess = self.guesses.in_session(session, now()).await?;
        let hash = self.users.password_hash(user).await?;

        match (slot.verify(password, hash.clone()).await?, hash) {
            (Verdict::Right { .. }, Some(hash)) => {
                self.guesses.forgive(guess, now()).await?;
                Ok((slot, hash))
            }
            _ => Err(self.wrong_password(act).await?),
        }
    }

    /// The refusal of a wrong password, recorded.
    async fn wrong_password(&self, act: &Act) -> Result<Error> {
        let refusal = Error::CredentialsInvalid;
        self.audit_log
            .record_refusal(act, refusal.reason(), now())
            .await?;
        Ok(refusal)
    }
}
