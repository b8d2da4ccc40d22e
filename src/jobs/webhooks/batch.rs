use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    auth::{Sealer, WebhookSecret},
    backoff::Backoff,
    domain::{
        Event, EventGap, Time, WebhookAttempt, WebhookDeliveryRecord, WebhookDisableReason,
        WebhookEventType, WebhookLease, WebhookMessage, WebhookProgress, WebhookTarget, now,
    },
    error::Result,
    repositories::WebhookQueue,
    telemetry::metrics::WEBHOOKS,
    webhooks::{EventWriter, WebhookSender},
};

/// The time after which a batch ends, so that its progress is recorded.
const MAX_BATCH_TIME: Duration = Duration::from_secs(1);

/// How long a lease lasts without a renewal.
pub(super) const LEASE: Duration = Duration::from_secs(10);

/// The part of a lease in which nothing new is sent.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// What all batches of a replica share.
#[derive(Debug)]
pub(super) struct Delivery {
    pub queue: WebhookQueue,
    pub sender: WebhookSender,
    pub sealer: Sealer,
    pub writer: EventWriter,
    pub backoff: Backoff,
    pub retry_period: Duration,
    pub lease_id: Uuid,
    /// When all leases were last renewed.
    pub renewed_at: Mutex<Instant>,
    /// Cancelled when the replica stops: nothing more is sent.
    pub closing: CancellationToken,
}

/// The next events of a project for a webhook.
#[derive(Debug)]
pub(super) struct Batch {
    pub lease: WebhookLease,
    /// When the lease was taken.
    pub leased_at: Instant,
    pub target: WebhookTarget,
    /// The revision of the newest event.
    pub head: i64,
    /// The events after the lease's revision, with their revisions; `None` if one is unreadable.
    pub events: Vec<(i64, Option<Event>)>,
}

/// What is sent next.
enum Item {
    Event(Box<Event>),
    Gap(EventGap),
}

impl Item {
    fn last_revision(&self) -> i64 {
        match self {
            Self::Event(event) => event.revision,
            Self::Gap(gap) => gap.last,
        }
    }
}

impl Batch {
    /// When the first event happened.
    pub fn oldest(&self) -> Option<Time> {
        let (_, event) = self.events.first()?;
        event.as_ref().map(|event| event.create_time)
    }

    /// The events in order. What is missing between them has been deleted.
    fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::with_capacity(self.events.len());
        let mut next = self.lease.revision + 1;
        let gap = |first: i64, last: i64, items: &mut Vec<Item>| {
            if first <= last {
                items.push(Item::Gap(EventGap { first, last }));
            }
        };
        let last = self.events.last().map_or(self.head, |(last, _)| *last);
        for (revision, event) in std::mem::take(&mut self.events) {
            if let Some(event) = event {
                gap(next, revision - 1, &mut items);
                items.push(Item::Event(Box::new(event)));
                next = revision + 1;
            }
        }
        gap(next, last, &mut items);
        items
    }
}

impl Delivery {
    /// Sends a batch and records it; returns whether there may be more.
    pub async fn run(self: Arc<Self>, batch: Batch) -> bool {
        let (webhook_id, project_id) = (batch.lease.webhook_id, batch.lease.project_id);
        match self.send_all(batch).await {
            Ok(has_more) => has_more,
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(%webhook_id, %project_id, error, "cannot send to a webhook now");
                false
            }
        }
    }

    async fn send_all(&self, mut batch: Batch) -> Result<bool> {
        let secrets = WebhookSecret::of_target(&batch.target, &self.sealer)?;
        let (head, started_at) = (batch.head, Instant::now());
        let items = batch.items();
        let mut progress = begin(&batch);
        for item in items {
            let is_late = started_at.elapsed() > MAX_BATCH_TIME || self.is_lease_ending(&batch);
            if is_late || self.closing.is_cancelled() {
                break;
            }
            let Some(message) = self.message(&batch, &item)? else {
                progress.revision = item.last_revision();
                continue;
            };
            let attempt = self.sender.send(&batch.target, &secrets, &message).await?;
            if attempt.is_success() {
                count_age(&item);
            }
            if !self.note(&mut progress, &item, message, attempt) {
                break;
            }
        }
        let is_recorded = self.queue.record(&progress, self.lease_id, now()).await?;
        report(&progress);
        Ok(is_recorded && progress.failures == 0 && progress.revision < head)
    }

    /// Whether the lease may end before an attempt does.
    fn is_lease_ending(&self, batch: &Batch) -> bool {
        let since = batch.leased_at.max(*self.renewed_at.lock());
        since.elapsed() > LEASE - LEASE_MARGIN
    }

    /// The message of an item; `None` if the webhook does not want it. An event that cannot be
    /// written is a gap, so that it keeps no others.
    fn message(&self, batch: &Batch, item: &Item) -> Result<Option<WebhookMessage>> {
        let project_id = batch.lease.project_id;
        let event = match item {
            Item::Gap(gap) => return self.gap_message(batch, *gap).map(Some),
            Item::Event(event) => event,
        };
        if !batch
            .target
            .event_types
            .contain(WebhookEventType::of(event))
        {
            return Ok(None);
        }
        let revision = event.revision;
        let written = self.writer.event(project_id, (**event).clone());
        written.map(Some).or_else(|error| {
            let error = error.with_causes();
            tracing::error!(%project_id, revision, error, "cannot write an event for a webhook");
            let gap = EventGap {
                first: revision,
                last: revision,
            };
            self.gap_message(batch, gap).map(Some)
        })
    }

    fn gap_message(&self, batch: &Batch, gap: EventGap) -> Result<WebhookMessage> {
        WEBHOOKS.gaps.inc();
        self.writer.gap(batch.lease.project_id, gap, now())
    }

    /// Notes an attempt; returns whether to go on with the next item.
    fn note(
        &self,
        progress: &mut WebhookProgress,
        item: &Item,
        message: WebhookMessage,
        attempt: WebhookAttempt,
    ) -> bool {
        let now = now();
        let is_success = attempt.is_success();
        match is_success {
            true => {
                progress.revision = item.last_revision();
                progress.failures = 0;
                progress.failing_since = None;
                progress.next_attempt_time = now;
            }
            false => self.fail(progress, &attempt, now),
        }
        progress.deliveries.push(WebhookDeliveryRecord {
            revision: item.last_revision(),
            message_id: message.id,
            event_type: message.event_type,
            attempt,
            time: now,
        });
        is_success
    }

    /// Plans the next attempt, the last one at the end of the retry period; after it, or if the
    /// endpoint is gone, disables the webhook.
    fn fail(&self, progress: &mut WebhookProgress, attempt: &WebhookAttempt, now: Time) {
        progress.failures = progress.failures.saturating_add(1);
        let since = *progress.failing_since.get_or_insert(now);
        let end = since + self.retry_period;
        let failures = u32::try_from(progress.failures).unwrap_or(u32::MAX);
        let delay = self.backoff.delay(failures);
        let delay = delay.max(attempt.retry_after.unwrap_or_default());
        progress.next_attempt_time = match now < end {
            true => (now + delay).min(end),
            false => now + delay,
        };
        progress.disable_reason = match attempt.is_gone() {
            true => Some(WebhookDisableReason::Gone),
            false => (now >= end).then_some(WebhookDisableReason::Failing),
        };
    }
}

/// The progress before the first event.
fn begin(batch: &Batch) -> WebhookProgress {
    WebhookProgress {
        webhook_id: batch.lease.webhook_id,
        owner_id: batch.target.owner_id,
        project_id: batch.lease.project_id,
        url: batch.target.url.clone(),
        revision: batch.lease.revision,
        failures: batch.lease.failures,
        failing_since: batch.lease.failing_since,
        next_attempt_time: now(),
        disable_reason: None,
        deliveries: Vec::new(),
    }
}

fn count_age(item: &Item) {
    if let Item::Event(event) = item {
        let age = (now() - event.create_time).to_std().unwrap_or_default();
        WEBHOOKS.ages.observe(age.as_secs_f64());
    }
}

/// Logs what an operator may be asked about. The URL may contain secrets of its owner.
fn report(progress: &WebhookProgress) {
    let (webhook_id, project_id) = (progress.webhook_id, progress.project_id);
    if let Some(reason) = progress.disable_reason {
        let reason = reason.as_str();
        WEBHOOKS.disabled.with_label_values(&[reason]).inc();
        tracing::warn!(%webhook_id, %project_id, reason, "webhook disabled");
        return;
    }
    let last = progress.deliveries.last();
    if let Some(error) = last.and_then(|last| last.attempt.error.as_deref()) {
        let failures = progress.failures;
        tracing::debug!(%webhook_id, %project_id, failures, error, "webhook delivery failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Change, OrganizationId, ProjectId, WebhookEventTypes, WebhookId};

    fn batch(revision: i64, head: i64, events: &[(i64, bool)]) -> Batch {
        let event = |revision| Event {
            revision,
            create_time: now(),
            change: Change::ProjectDeleted,
        };
        let webhook_id = WebhookId::generate();
        Batch {
            lease: WebhookLease {
                webhook_id,
                project_id: ProjectId::generate(),
                revision,
                failures: 0,
                failing_since: None,
            },
            leased_at: Instant::now(),
            target: WebhookTarget {
                id: webhook_id,
                owner_id: OrganizationId::generate(),
                url: String::new(),
                event_types: WebhookEventTypes::default(),
                failing_since: None,
                secret_sealed: Vec::new(),
                previous_secret_sealed: None,
            },
            head,
            events: events
                .iter()
                .map(|(revision, is_readable)| (*revision, is_readable.then(|| event(*revision))))
                .collect(),
        }
    }

    fn items(batch: &mut Batch) -> Vec<(i64, i64)> {
        let items = batch.items().into_iter();
        items
            .map(|item| match item {
                Item::Event(event) => (event.revision, event.revision),
                Item::Gap(gap) => (-gap.first, -gap.last),
            })
            .collect()
    }

    #[test]
    fn deleted_and_unreadable_events_are_gaps() {
        for (revision, head, events, expected) in [
            (0, 2, vec![(1, true), (2, true)], vec![(1, 1), (2, 2)]),
            (3, 6, vec![(6, true)], vec![(-4, -5), (6, 6)]),
            (3, 6, vec![], vec![(-4, -6)]),
            (
                3,
                7,
                vec![(4, true), (6, true)],
                vec![(4, 4), (-5, -5), (6, 6)],
            ),
            (3, 5, vec![(4, false), (5, true)], vec![(-4, -4), (5, 5)]),
            (3, 5, vec![(4, true), (5, false)], vec![(4, 4), (-5, -5)]),
            (3, 9, vec![(4, false)], vec![(-4, -4)]),
        ] {
            assert_eq!(items(&mut batch(revision, head, &events)), expected);
        }
    }
}
