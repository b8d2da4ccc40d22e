use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    auth::SealingKeyId,
    domain::now,
    error::Result,
    repositories::{
        AuditLog, Database, EndedTokens, Guesses, IdempotencyKey, KeyRecords, MailTokens, Outbox,
        Projects, Sessions,
    },
};

/// How long what has ended stays: media servers and people may still ask about it.
const KEPT: TimeDelta = TimeDelta::days(7);

/// How many rows one statement takes, so that it does not hold up others.
const BATCH: i64 = 500;

/// How often to look.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Forgets what has ended long ago: sessions, deleted projects, request ids,
/// wrong passwords, audit events, tokens and messages that nobody sent, retired keys.
#[derive(Debug)]
pub struct Purge {
    database: Database,
    audit_retention: Duration,
}

impl Purge {
    /// A purge of this database, which keeps audit events for so long.
    pub fn new(database: Database, audit_retention: Duration) -> Self {
        Self {
            database,
            audit_retention,
        }
    }

    /// Looks again and again; never returns.
    pub async fn run(self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.purge().await {
                tracing::warn!(error = error.with_causes(), "cannot purge");
            }
        }
    }

    async fn purge(&self) -> Result<()> {
        let before = now() - KEPT;
        let sessions = Sessions::new(self.database.clone());
        let projects = Projects::new(self.database.clone());

        while sessions.purge(before, BATCH).await? > 0 {}
        while projects.purge(before, BATCH).await? > 0 {}
        while IdempotencyKey::purge(&self.database, now(), BATCH).await? > 0 {}

        let ended = EndedTokens::new(self.database.clone());
        let guesses = Guesses::new(self.database.clone());
        let audit_log = AuditLog::new(self.database.clone());
        let audited = now() - self.audit_retention;
        while ended.purge(before, BATCH).await? > 0 {}
        while guesses.purge(now(), BATCH).await? > 0 {}
        while audit_log.purge(audited, BATCH).await? > 0 {}

        let mail_tokens = MailTokens::new(self.database.clone());
        let outbox = Outbox::new(self.database.clone());
        while mail_tokens.purge(now(), BATCH).await? > 0 {}
        while outbox.purge(before, BATCH).await? > 0 {}
        self.purge_keys().await
    }

    /// Forgets the keys that rotations made, once they are retired and needed no more.
    async fn purge_keys(&self) -> Result<()> {
        let (keys, now) = (KeyRecords::new(self.database.clone()), now());
        for key in keys.list().await? {
            if key.is_retired(now) {
                let id = SealingKeyId::parse(&key.id);
                let begin = id.as_ref().map(SealingKeyId::bytes).unwrap_or_default();
                keys.purge(&key, begin, now).await?;
            }
        }
        Ok(())
    }
}
