use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    auth::SealingKeyId,
    database::Database,
    domain::{Time, now},
    error::Result,
    repositories::{
        AuditLog, Events, FailedAttempts, IdempotencyKey, KeyRecords, MailTokens, Outbox, Projects,
        Publishing, Refusals, Sessions, TokenRevocations,
    },
    telemetry::metrics::JobTimer,
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
/// publishes, former publish connections, and retired keys. `audit_retention` applies to
/// audit events. Never returns.
pub async fn purge(database: Database, audit_retention: Duration) {
    let mut timer = JobTimer::new("purge", PURGE_INTERVAL);
    loop {
        let run = timer
            .next_run_after(database.clock_skew().tolerable())
            .await;
        let (now, mut is_success) = (now(), true);
        for target in PurgeTarget::ALL {
            if let Err(error) = purge_target(&database, target, audit_retention, now).await {
                // A failure of one target does not stop the others.
                tracing::warn!(?target, error = error.with_causes(), "cannot purge");
                is_success = false;
            }
        }
        run.finish(is_success);
    }
}

/// Deletes batches until none is left.
async fn purge_target(
    database: &Database,
    target: PurgeTarget,
    audit_retention: Duration,
    now: Time,
) -> Result<()> {
    let before = now - RETENTION;
    loop {
        let database = database.clone();
        let deleted = match target {
            PurgeTarget::Sessions => Sessions::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::Projects => Projects::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::RequestIds => IdempotencyKey::purge(&database, now, BATCH_SIZE).await,
            PurgeTarget::Revocations => {
                let revocations = TokenRevocations::new(database);
                revocations.purge(before, BATCH_SIZE).await
            }
            PurgeTarget::FailedAttempts => {
                FailedAttempts::new(database).purge(now, BATCH_SIZE).await
            }
            PurgeTarget::AuditEvents => {
                let before = now - audit_retention;
                AuditLog::new(database).purge(before, now, BATCH_SIZE).await
            }
            PurgeTarget::MailTokens => MailTokens::new(database).purge(now, BATCH_SIZE).await,
            PurgeTarget::Messages => Outbox::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::Refusals => Refusals::new(database).purge(before, BATCH_SIZE).await,
            PurgeTarget::Publishes => Publishing::purge(&database, before, BATCH_SIZE).await,
            PurgeTarget::Keys => return purge_keys(KeyRecords::new(database)).await,
        };
        if deleted? == 0 {
            return Ok(());
        }
    }
}

/// Deletes retired database keys that no sealed value needs.
async fn purge_keys(keys: KeyRecords) -> Result<()> {
    let now = now();
    for key in keys.list().await? {
        if key.is_retired(now) {
            let id = SealingKeyId::parse(&key.id);
            let prefix = id.as_ref().map(SealingKeyId::bytes).unwrap_or_default();
            keys.purge(&key, prefix, now).await?;
        }
    }
    Ok(())
}

/// The longest interval between two runs of [`prune_events`].
const MAX_PRUNING_INTERVAL: Duration = Duration::from_secs(60);

/// Deletes project events that are older than the retention; never returns.
pub async fn prune_events(database: Database, retention: Duration) {
    let events = Events::new(database.clone());
    let period = MAX_PRUNING_INTERVAL.min(retention / 10);
    let mut timer = JobTimer::new("event_pruning", period);
    loop {
        let run = timer
            .next_run_after(database.clock_skew().tolerable())
            .await;
        let pruned = prune(&events, now() - retention).await;
        if let Err(error) = &pruned {
            tracing::warn!(error = error.with_causes(), "cannot prune events");
        }
        run.finish(pruned.is_ok());
    }
}

/// Deletes batches until none is left.
async fn prune(events: &Events, before: Time) -> Result<()> {
    while events.prune(before, BATCH_SIZE).await? > 0 {}
    Ok(())
}
