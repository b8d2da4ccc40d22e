use uuid::Uuid;

use super::{
    attempt_queue::{Turn, Turns},
    messages::ChangePassword,
};
use crate::{
    auth::{HashSlot, PasswordHasher, Verdict},
    database::Database,
    domain::{
        Act, Email, GuessSubject, Name, Origin, Password, Session, SessionId, User, UserId, now,
    },
    error::{Error, Result},
    repositories::{AuditLog, Guess, Guesses, IdempotencyKey, NewUser, Outbox, Users},
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
    /// The hash of the password.
    pub hash: String,
    /// The attempt that showed it, if the account is not new.
    pub attempt: Option<Attempt>,
}

/// An attempt to sign in, which counts as a failure until a session begins.
#[derive(Debug)]
pub(super) struct Attempt {
    pub guess: Guess,
    password: Password,
    slot: HashSlot,
    _turn: Turn,
}

impl Accounts {
    /// Opens an account; if the same request did before, gives that one to who
    /// knows its password.
    pub async fn open(
        &self,
        sign_up: SignUp,
        idempotency: Option<IdempotencyKey>,
        slot: HashSlot,
        origin: &Origin,
    ) -> Result<Known> {
        let SignUp {
            email,
            password,
            display_name,
        } = sign_up;
        if self.is_repeated(idempotency.as_ref()).await? {
            drop(slot);
            return self.reopen(&email, password, origin).await;
        }

        let password_hash = slot.hash(password.clone()).await?;
        drop(slot);
        let id = UserId::generate();
        let new = NewUser {
            id,
            email,
            display_name,
            password_hash,
            idempotency,
            verify: self.outbox.is_some(),
        };
        let act = Act::of_user("SignUp", Some(id), origin.clone());
        let created = self.users.create(&new, &act, now()).await;
        if matches!(created, Err(Error::EmailTaken))
            && self.is_repeated(new.idempotency.as_ref()).await?
        {
            // The same request was faster: its first answer seemed lost too early.
            return self.reopen(&new.email, password, origin).await;
        }
        let user = created?;
        self.outbox.iter().for_each(Outbox::ring);
        Ok(Known {
            user,
            hash: new.password_hash,
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
        let turn = self.turns.take(email, origin).await?;
        // In this order: a call that is turned away costs nothing, and an attempt
        // counts before its password is looked at.
        let slot = self.hasher.admit()?;
        let subject = GuessSubject::of_sign_in(email.key(), origin);
        let guess = self.guesses.count(&subject, now()).await?;
        let (user, hash) = self.users.find_by_email(email).await?.unzip();

        let attempt = Attempt {
            guess,
            password,
            slot,
            _turn: turn,
        };
        self.decide(user, hash.flatten(), attempt, origin).await
    }

    /// Checks an attempt once more, because the account's hash is another one now.
    pub async fn check_again(&self, known: Known, origin: &Origin) -> Result<Known> {
        let attempt = known.attempt.ok_or(Error::ConcurrentChange)?;
        let hash = match self.users.password_hash(known.user.id).await {
            // An account that is gone is as one that never was.
            Err(Error::NotFound { .. }) => None,
            hash => hash?,
        };
        self.decide(Some(known.user), hash, attempt, origin).await
    }

    async fn decide(
        &self,
        user: Option<User>,
        hash: Option<String>,
        attempt: Attempt,
        origin: &Origin,
    ) -> Result<Known> {
        let Attempt { password, slot, .. } = &attempt;
        let verdict = slot.verify(password.clone(), hash.clone()).await?;
        match (user, hash, verdict) {
            (Some(user), Some(hash), Verdict::Right { outdated }) => {
                let hash = match outdated {
                    true => self.rehash(&attempt, user.id, &hash).await?,
                    false => hash,
                };
                let attempt = Some(attempt);
                Ok(Known {
                    user,
                    hash,
                    attempt,
                })
            }
            (user, ..) => {
                let user = user.map(|user| user.id);
                let act = Act::of_user("SignIn", user, origin.clone());
                Err(self.wrong_password(&act).await?)
            }
        }
    }

    /// Replaces a hash by one of the cost of the settings. If another call was
    /// faster, that is noticed when the session begins.
    async fn rehash(&self, attempt: &Attempt, user: UserId, old: &str) -> Result<String> {
        let new = attempt.slot.hash(attempt.password.clone()).await?;
        self.users.rehash(user, old, &new).await?;
        Ok(new)
    }

    /// Replaces a password; tells which sessions that ended.
    pub async fn change(
        &self,
        change: ChangePassword,
        session: &Session,
        slot: HashSlot,
        act: &Act,
    ) -> Result<impl Iterator<Item = Uuid> + use<>> {
        let ChangePassword { current, new } = change;
        let whose = (session.user_id, session.id);
        let old = self.reauthenticate(whose, current, &slot, act).await?;

        let new = slot.hash(new).await?;
        let ended = self
            .users
            .change_password((&old, &new), session, act, now())
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
        let slot = self.hasher.admit()?;
        let whose = (user, session);
        let hash = self.reauthenticate(whose, password, &slot, act).await?;

        self.users.delete(user, &hash, act, now()).await
    }

    /// Checks the password of who has a session; gives its hash.
    async fn reauthenticate(
        &self,
        (user, session): (UserId, SessionId),
        password: Password,
        slot: &HashSlot,
        act: &Act,
    ) -> Result<String> {
        let subject = GuessSubject::of_session(session);
        let guess = self.guesses.count(&subject, now()).await?;
        let hash = self.users.password_hash(user).await?;

        match (slot.verify(password, hash.clone()).await?, hash) {
            (Verdict::Right { .. }, Some(hash)) => {
                self.guesses.forgive(guess).await?;
                Ok(hash)
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
