use std::time::Duration;

use chrono::TimeDelta;

use super::batches::delete_batches;
use crate::{
    auth::SealingKeyId,
    database::{Batch, Database, DeletedBatch},
    domain::{Time, now},
    error::Result,
    repositories::{
        AuditLog, DestinationChecks, EmailChanges, Events, FailedAttempts, IdempotencyKey,
        KeyRecords, KnownNetworks, MailTokens, Nodes, Organizations, Outbox, Publishing, Refusals,
        Sessions, StreamSamples, Streams, TokenRevocations, UsageRecords, WebhookDeliveries,
        Workers,
    },
    telemetry::metrics::JobTimer,
};

/// The retention of ended records: media servers and users may still ask about them.
const RECORD_RETENTION: TimeDelta = TimeDelta::days(7);

/// The retention of samples of statistics.
const SAMPLE_RETENTION: TimeDelta = TimeDelta::days(1);

/// The retention of checks of destinations, which count for their rate limit.
const CHECK_RETENTION: TimeDelta = TimeDelta::hours(1);

/// The interval between two runs.
const PURGE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The most rows that a run leaves because they cannot be deleted.
const MAX_SKIPPED: i64 = 100;

/// How long records are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Of audit events.
    pub audit_events: Duration,
    /// Of ended streams and their relays. `None` keeps them for ever.
    pub streams: Option<Duration>,
    /// Of deliveries to webhooks.
    pub webhook_deliveries: Duration,
    /// Of records of usage.
    pub usage: Duration,
}

/// A kind of record that is purged.
#[derive(Debug, Clone, Copy)]
enum PurgeTarget {
    Streams,
    ExpiredSessions,
    RevokedSessions,
    RequestIds,
    Revocations,
    FailedAttempts,
    AuditEvents,
    UnattributedRefusals,
    MailTokens,
    EmailChanges,
    Invitations,
    KnownNetworks,
    Messages,
    Refusals,
    Connections,
    Boots,
    Nodes,
    Workers,
    StreamSamples,
    DestinationChecks,
    Keys,
    WebhookDeliveries,
    Usage,
}

impl PurgeTarget {
    const ALL: [Self; 23] = [
        Self::Streams,
        Self::ExpiredSessions,
        Self::RevokedSessions,
        Self::RequestIds,
        Self::Revocations,
        Self::FailedAttempts,
        Self::AuditEvents,
        Self::UnattributedRefusals,
        Self::MailTokens,
        Self::EmailChanges,
        Self::Invitations,
        Self::KnownNetworks,
        Self::Messages,
        Self::Refusals,
        Self::Connections,
        Self::Boots,
        Self::Nodes,
        Self::Workers,
        Self::StreamSamples,
        Self::DestinationChecks,
        Self::Keys,
        Self::WebhookDeliveries,
        Self::Usage,
    ];
}

/// Deletes old records: ended sessions, request ids, revocations, failed sign-in attempts,
/// audit events, unused e-mail tokens, expired changes of addresses, expired invitations, networks of
/// old sign-ins, unsent messages, refused publishes,
/// former publish connections, silent nodes, former relay workers, samples of statistics, checks of
/// destinations, ended streams, usage, and retired keys. Never
/// returns.
pub async fn purge(database: Database, retention: Retention) {
    let mut timer = JobTimer::new("purge", PURGE_INTERVAL);
    loop {
        let run = timer
            .next_run_after(database.clock_skew().tolerable())
            .await;
        let (now, mut is_success) = (now(), true);
        for target in PurgeTarget::ALL {
            match purge_target(&database, target, retention, now).await {
                Ok(all) => is_success &= all,
                Err(error) => {
                    // A failure of one target does not stop the others.
                    tracing::warn!(?target, error = error.with_causes(), "cannot purge");
                    is_success = false;
                }
            }
        }
        run.finish(is_success);
    }
}

/// Deletes all records of a kind that are old enough; returns whether none had to be left.
async fn purge_target(
    database: &Database,
    target: PurgeTarget,
    retention: Retention,
    now: Time,
) -> Result<bool> {
    match (target, retention.streams) {
        (PurgeTarget::Keys, _) => {
            purge_keys(KeyRecords::new(database.clone())).await?;
            Ok(true)
        }
        (PurgeTarget::Streams, None) => Ok(true),
        (PurgeTarget::Streams, Some(kept)) => {
            let streams = Streams::new(database.clone());
            delete_batches(target, MAX_SKIPPED, |batch| {
                streams.purge(now - kept, batch)
            })
            .await
        }
        (PurgeTarget::WebhookDeliveries, _) => {
            let deliveries = WebhookDeliveries::new(database.clone());
            delete_batches(target, MAX_SKIPPED, |batch| {
                deliveries.purge(now - retention.webhook_deliveries, batch)
            })
            .await
        }
        (PurgeTarget::Usage, _) => {
            let records = UsageRecords::new(database.clone());
            delete_batches(target, MAX_SKIPPED, |batch| {
                records.purge(now - retention.usage, batch)
            })
            .await
        }
        _ => {
            delete_batches(target, MAX_SKIPPED, |batch| {
                purge_batch(database, target, now - retention.audit_events, now, batch)
            })
            .await
        }
    }
}

async fn purge_batch(
    database: &Database,
    target: PurgeTarget,
    audited_before: Time,
    now: Time,
    batch: Batch,
) -> Result<DeletedBatch> {
    let before = now - RECORD_RETENTION;
    let owned = database.clone();
    match target {
        PurgeTarget::ExpiredSessions => Sessions::new(owned).purge_expired(before, batch).await,
        PurgeTarget::RevokedSessions => Sessions::new(owned).purge_revoked(before, batch).await,
        PurgeTarget::RequestIds => IdempotencyKey::purge(database, now, batch).await,
        PurgeTarget::Revocations => TokenRevocations::new(owned).purge(before, batch).await,
        PurgeTarget::FailedAttempts => FailedAttempts::new(owned).purge(now, batch).await,
        PurgeTarget::AuditEvents => AuditLog::new(owned).purge(audited_before, batch).await,
        PurgeTarget::UnattributedRefusals => {
            AuditLog::new(owned).purge_unattributed(now, batch).await
        }
        PurgeTarget::MailTokens => MailTokens::new(owned).purge(now, batch).await,
        PurgeTarget::EmailChanges => EmailChanges::new(owned).purge(now, batch).await,
        PurgeTarget::Invitations => Organizations::purge_invitations(database, now, batch).await,
        PurgeTarget::KnownNetworks => KnownNetworks::new(owned).purge(now, batch).await,
        PurgeTarget::Messages => Outbox::new(owned).purge(before, batch).await,
        PurgeTarget::Refusals => Refusals::new(owned).purge(before, batch).await,
        PurgeTarget::Connections => Publishing::purge_connections(database, before, batch).await,
        PurgeTarget::Boots => Publishing::purge_boots(database, before, batch).await,
        PurgeTarget::Nodes => Nodes::new(owned).purge(before, batch).await,
        PurgeTarget::Workers => Workers::new(owned).purge(before, batch).await,
        PurgeTarget::StreamSamples => {
            let before = now - SAMPLE_RETENTION;
            StreamSamples::new(owned).purge(before, batch).await
        }
        PurgeTarget::DestinationChecks => {
            let before = now - CHECK_RETENTION;
            DestinationChecks::new(owned).purge(before, batch).await
        }
        // They have no batches, or a retention of their own.
        PurgeTarget::Streams
        | PurgeTarget::Keys
        | PurgeTarget::WebhookDeliveries
        | PurgeTarget::Usage => Ok(DeletedBatch::default()),
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
        let before = now() - retention;
        let pruned =
            delete_batches("events", MAX_SKIPPED, |batch| events.prune(before, batch)).await;
        if let Err(error) = &pruned {
            tracing::warn!(error = error.with_causes(), "cannot prune events");
        }
        run.finish(matches!(pruned, Ok(true)));
    }
}
