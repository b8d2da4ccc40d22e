use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    auth::SealingKeyId,
    database::Database,
    domain::{Time, now},
    error::Result,
    repositories::{
        AuditLog, Events, FailedAttempts, IdempotencyKey, KeyRecords, MailTokens, Outbox, Projects,
        Publishing, Refusals, Sessions, TokenRevocations,
    },
    telemetry::metrics::JobRun,
};

/// The retention of ended records: media servers and users may still ask about them.
const RETENTION: TimeDelta = TimeDelta::days(7);

/// Rows deleted by one statement, few enough not to block others.
const BATCH_SIZE: i64 = 500;

/// The interval between two runs.
const PURGE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// A kind of record that is purged.
#[derive(Debug, Clone, Copy)]
enum PurgeTarget {
    Sessions,
    Projects,
    RequestIds,
    Revocations,
    FailedAttempts,
    AuditEvents,
    MailTokens,
    Messages,
    Refusals,
    Publishes,
    Keys,
}

impl PurgeTarget {
    const ALL: [Self; 11] = [
        Self::Sessions,
        Self::Projects,
        Self::RequestIds,
        Self::Revocations,
        Self::FailedAttempts,
        Self::AuditEvents,
        Self::MailTokens,
        Self::Messages,
        Self::Refusals,
        Self::Publishes,
        Self::Keys,
    ];
}

/// Deletes old records: ended sessions, deleted projects, request ids, revocations, failed
/// sign-in attempts, audit events, unused e-mail tokens, unsent messages, refused
/// publishes, former publish connections, and retired keys.
#[derive(Debug)]
pub struct Purge {
    database: Database,
    audit_retention: Duration,
}

impl Purge {
    /// Purges this database. `audit_retention` applies to audit events.
    pub fn new(database: Database, audit_retention: Duration) -> Self {
        Self {
            database,
            audit_retention,
        }
    }

    /// Purges periodically; never returns.
    pub async fn run(self) {
        let mut ticks = interval(PURGE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = JobRun::start("purge");
            run.finish(self.purge().await);
        }
    }

    /// Deletes batches until none is left. A failure of one target does not stop the
    /// others. Returns whether all succeeded.
    async fn purge(&self) -> bool {
        let mut is_success = true;
        let now = now();
        for target in PurgeTarget::ALL {
            loop {
                match self.purge_batch(target, now).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(?target, error = error.with_causes(), "cannot purge");
                        is_success = false;
                        break;
                    }
                }
            }
        }
        is_success
    }

    async fn purge_batch(&self, target: PurgeTarget, now: Time) -> Result<u64> {
        let (database, before) = (self.database.clone(), now - RETENTION);
        match target {
            PurgeTarget::Sessions => Sessions::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::Projects => Projects::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::RequestIds => IdempotencyKey::purge(&database, now, BATCH_SIZE).await,
            PurgeTarget::Revocations => {
                TokenRevocations::new(database)
                    .purge(before, BATCH_SIZE)
                    .await
            }
            PurgeTarget::FailedAttempts => {
                FailedAttempts::new(database).purge(now, BATCH_SIZE).await
            }
            PurgeTarget::AuditEvents => {
                let before = now - self.audit_retention;
                AuditLog::new(database).purge(before, now, BATCH_SIZE).await
            }
            PurgeTarget::MailTokens => MailTokens::new(database).purge(now, BATCH_SIZE).await,
            PurgeTarget::Messages => Outbox::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::Refusals => Refusals::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::Publishes => Publishing::purge(&database, before, BATCH_SIZE).await,
            PurgeTarget::Keys => self.purge_keys().await.map(|()| 0),
        }
    }

    /// Deletes retired database keys that no sealed value needs.
    async fn purge_keys(&self) -> Result<()> {
        let (keys, now) = (KeyRecords::new(self.database.clone()), now());
        for key in keys.list().await? {
            if key.is_retired(now) {
                let id = SealingKeyId::parse(&key.id);
                let prefix = id.as_ref().map(SealingKeyId::bytes).unwrap_or_default();
                keys.purge(&key, prefix, now).await?;
            }
        }
        Ok(())
    }
}

/// The longest interval between two runs of [`EventPruning`].
const MAX_PRUNING_INTERVAL: Duration = Duration::from_secs(60);

/// Deletes project events that are older than the retention.
#[derive(Debug)]
pub struct EventPruning {
    events: Events,
    retention: Duration,
}

impl EventPruning {
    /// Prunes the events of this database.
    pub fn new(database: Database, retention: Duration) -> Self {
        Self {
            events: Events::new(database),
            retention,
        }
    }

    /// Prunes periodically; never returns.
    pub async fn run(self) {
        let mut ticks = interval(MAX_PRUNING_INTERVAL.min(self.retention / 10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = JobRun::start("event_pruning");
            let pruned = self.prune().await;
            if let Err(error) = &pruned {
                tracing::warn!(error = error.with_causes(), "cannot prune events");
            }
            run.finish(pruned.is_ok());
        }
    }

    /// Deletes batches until none is left.
    async fn prune(&self) -> Result<()> {
        let before = now() - self.retention;
        while self.events.prune(before, BATCH_SIZE).await? > 0 {}
        Ok(())
    }
}
