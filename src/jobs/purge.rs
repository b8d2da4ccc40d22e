use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    auth::SealingKeyId,
    database::Database,
    domain::{Time, now},
    error::Result,
    repositories::{
        AuditLog, EndedTokens, Guesses, IdempotencyKey, KeyRecords, MailTokens, Outbox, Projects,
        Publishing, Refusals, Sessions,
    },
    telemetry::metrics,
};

/// How long what has ended stays: media servers and people may still ask about it.
const KEPT: TimeDelta = TimeDelta::days(7);

/// How many rows one statement takes, so that it does not hold up others.
const BATCH: i64 = 500;

/// How often to look.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// What is forgotten.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Sessions,
    Projects,
    RequestIds,
    Revocations,
    Guesses,
    AuditEvents,
    MailTokens,
    Messages,
    Refusals,
    Publishes,
    Keys,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Sessions,
        Self::Projects,
        Self::RequestIds,
        Self::Revocations,
        Self::Guesses,
        Self::AuditEvents,
        Self::MailTokens,
        Self::Messages,
        Self::Refusals,
        Self::Publishes,
        Self::Keys,
    ];
}

/// Forgets what has ended long ago: sessions, deleted projects, request ids,
/// wrong passwords, audit events, tokens and messages that nobody sent, refused and
/// former publishers, retired keys.
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
            let run = metrics::job("purge");
            run.over(self.purge().await);
        }
    }

    /// Batch by batch until nothing is left; what cannot be forgotten now does not
    /// keep the rest. Tells whether all could.
    async fn purge(&self) -> bool {
        let mut is_done = true;
        let now = now();
        for what in Kind::ALL {
            loop {
                match self.batch(what, now).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(?what, error = error.with_causes(), "cannot purge");
                        is_done = false;
                        break;
                    }
                }
            }
        }
        is_done
    }

    async fn batch(&self, what: Kind, now: Time) -> Result<u64> {
        let (database, before) = (self.database.clone(), now - KEPT);
        match what {
            Kind::Sessions => Sessions::new(database).purge(before, BATCH).await,
            Kind::Projects => Projects::new(database).purge(before, BATCH).await,
            Kind::RequestIds => IdempotencyKey::purge(&database, now, BATCH).await,
            Kind::Revocations => EndedTokens::new(database).purge(before, BATCH).await,
            Kind::Guesses => Guesses::new(database).purge(now, BATCH).await,
            Kind::AuditEvents => {
                let before = now - self.audit_retention;
                AuditLog::new(database).purge(before, now, BATCH).await
            }
            Kind::MailTokens => MailTokens::new(database).purge(now, BATCH).await,
            Kind::Messages => Outbox::new(database).purge(before, BATCH).await,
            Kind::Refusals => Refusals::new(database).purge(before, BATCH).await,
            Kind::Publishes => Publishing::purge(&database, before, BATCH).await,
            Kind::Keys => self.purge_keys().await.map(|()| 0),
        }
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
