use crate::{
    auth::{
        AccessToken, AccessTokens, Caller, RefreshSeed, RefreshToken, Revocations, Sealer, Subject,
        at_address,
    },
    domain::{Act, Origin, Scope, Secret, Session, SessionId, SessionTimes, Time, User, now},
    error::{Error, Result},
    repositories::{Proof, Sessions},
};

/// Begins sessions, and keeps them going.
#[derive(Debug, Clone)]
pub(super) struct SignIns {
    pub sessions: Sessions,
    pub tokens: AccessTokens,
    pub revocations: Revocations,
    pub sealer: Sealer,
    pub times: SessionTimes,
}

/// What a session gives to its user.
#[derive(Debug)]
pub(super) struct TokenPair {
    pub access: AccessToken,
    pub refresh_token: Secret,
    pub refresh_token_expire_time: Time,
}

impl SignIns {
    /// Begins a session of a user; `ConcurrentChange` if the proof holds no more.
    pub async fn begin(
        &self,
        action: &'static str,
        user: &User,
        proof: Proof<'_>,
        origin: Origin,
    ) -> Result<TokenPair> {
        let now = now();
        let id = SessionId::generate();
        let act = Act::of_user(action, Some(user.id), origin.clone()).in_session(id);
        let seed = RefreshSeed::generate();
        let session = Session {
            id,
            user_id: user.id,
            refresh_seed: seed.seal(id, &self.sealer),
            refresh_counter: 1,
            origin,
            create_time: now,
            last_used_time: now,
            expire_time: now + self.times.lifetime,
        };

        let familiar = at_address(&user.email.to_lowercase(), &session.origin);
        self.sessions
            .create(&session, proof, &familiar, &act)
            .await?;
        self.pair(&session, &seed, 1, now)
    }

    /// New tokens for a session of which no earlier refresh token is to work any
    /// more; they count once the session is kept as it is given here.
    pub async fn renew(&self, id: SessionId) -> Result<(Session, TokenPair)> {
        let now = now();
        let session = self.sessions.find(id, now).await?;
        let session = session.ok_or(Error::AccessTokenInvalid)?;
        let seed = RefreshSeed::generate();
        let session = Session {
            refresh_seed: seed.seal(id, &self.sealer),
            refresh_counter: 1,
            last_used_time: now,
            ..session
        };

        let tokens = self.pair(&session, &seed, 1, now)?;
        Ok((session, tokens))
    }

    /// Replaces a refresh token: the newest by the next; the one before it,
    /// whose answer was lost, by the newest. An older one ends the session.
    pub async fn refresh(&self, token: &RefreshToken, origin: Origin) -> Result<TokenPair> {
        let now = now();
        loop {
            let mut session = self
                .sessions
                .find(token.session_id, now)
                .await?
                .filter(|session| session.last_used_time + self.times.idle_timeout > now)
                .ok_or(Error::RefreshTokenInvalid)?;
            let seed = RefreshSeed::unseal(&session.refresh_seed, session.id, &self.sealer)?;
            if !seed.made(token) {
                return Err(Error::RefreshTokenInvalid);
            }

            let newest = session.refresh_counter;
            if token.counter == newest {
                if self.sessions.advance(session.id, newest, now).await? {
                    session.last_used_time = now;
                    return self.pair(&session, &seed, newest + 1, now);
                }
                // Another call with the same token was faster: look again.
            } else if token.counter == newest - 1 {
                return self.pair(&session, &seed, newest, now);
            } else {
                let act = Act::of_user("RefreshTokens", Some(session.user_id), origin)
                    .in_session(session.id);
                self.sessions.revoke_reused(&session, &act, now).await?;
                self.revocations.add([session.id.uuid()], now);
                tracing::warn!(session_id = %session.id, "an old refresh token was used again");
                return Err(Error::RefreshTokenReused);
            }
        }
    }

    fn pair(
        &self,
        session: &Session,
        seed: &RefreshSeed,
        counter: i64,
        now: Time,
    ) -> Result<TokenPair> {
        let subject = Subject::User {
            user: session.user_id,
            session: session.id,
        };
        let caller = Caller {
            subject,
            scopes: Scope::OF_USERS.into_iter().collect(),
        };
        Ok(TokenPair {
            access: self.tokens.issue(&caller, now)?,
            refresh_token: seed.token(session.id, counter),
            refresh_token_expire_time: self.times.end_of(session),
        })
    }
}
