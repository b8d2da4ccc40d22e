//! How publishers are let in.

use sqlx::FromRow;

use super::{
    connections::{self, Known},
    node_boots,
    rows::{insert, record, running, store, store_play_url},
};
use crate::{
    database::{Timestamp, Transaction, known},
    domain::{
        Admission, EndReason, ProjectId, PublishConflictPolicy, PublishGate, Publisher, Refusal,
        SealedPlayUrl, Status, Stream, Time,
    },
    error::{Error, Result},
    repositories::{
        Publishing,
        projects::{
            revisions::{return_revision, take_revision},
            rows::window_from_millis,
        },
    },
    telemetry::metrics::LIVE,
};

/// A publisher that asks to be let in.
#[derive(Debug, Clone, Copy)]
pub struct NewPublish<'a> {
    /// SHA-256 of the key that it gave.
    pub key_hash: &'a [u8],
    /// The connection.
    pub publisher: &'a Publisher,
    /// Whether media has been seen already.
    pub media_flowing: bool,
    /// Where its media can be read.
    pub play_url: Option<&'a SealedPlayUrl>,
    /// Whether the connection is known to stand, so that it may come in again
    /// after its stream has ended.
    pub standing: bool,
}

impl Publishing {
    /// Accepts or refuses a publisher.
    pub async fn begin(&self, publish: NewPublish<'_>, now: Time) -> Result<Stream> {
        let begun = self.try_begin(publish, now).await;
        match &begun {
            Ok(_) => LIVE.publish_begun(),
            Err(error) => LIVE.publish_refused(error.reason()),
        }
        begun
    }

    async fn try_begin(&self, publish: NewPublish<'_>, now: Time) -> Result<Stream> {
        let publisher = publish.publisher;
        let (node_id, boot_id) = (&publisher.node_id, &publisher.boot_id);
        node_boots::enter(&self.database, node_id, boot_id, now).await?;

        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let (gate, revision) = open_gate(&mut tx, publish.key_hash)
                    .await?
                    .ok_or(Error::StreamKeyInvalid)?;
                let admitted = self.admit(&mut tx, &gate, revision, publish, now).await;
                match &admitted {
                    Ok(_) => self.database.commit_change(tx, gate.project_id).await?,
                    Err(Error::PublishRefused(refusal)) => {
                        // At once, so that nobody finds the project locked by it.
                        tx.rollback().await?;
                        self.keep(*refusal, gate.project_id, publisher, now).await;
                    }
                    Err(_) => {}
                }
                admitted
            })
            .await
    }

    /// Keeps a refusal for the owner. The media server is told of it in any case.
    async fn keep(&self, refusal: Refusal, id: ProjectId, publisher: &Publisher, now: Time) {
        let Some(reason) = refusal.reason() else {
            return;
        };
        if let Err(error) = self.refusals.add(id, reason, publisher, now).await {
            let error = error.with_causes();
            tracing::warn!(project_id = %id, error, "cannot keep a refusal");
        }
    }

    async fn admit(
        &self,
        tx: &mut Transaction,
        gate: &PublishGate,
        mut revision: i64,
        publish: NewPublish<'_>,
        now: Time,
    ) -> Result<Stream> {
        let publisher = publish.publisher;
        // Once more, now that the project is locked: a later boot may have come in between.
        if !node_boots::is_newest(tx, publisher).await? {
            return Err(Error::NodeSuperseded);
        }
        let mut running = running(tx, gate.project_id).await?;
        if let Some(lost) = running.take_if(|stream| stream.is_of_other_boot(publisher)) {
            running = lose(tx, lost, gate, revision, now).await?;
            revision = take_revision(tx, gate.project_id).await?;
        }

        let admission = gate.admit(running.as_ref(), publisher, now);
        let admission = admission.map_err(Error::PublishRefused)?;
        if publish.standing && admission == Admission::TakeOver {
            // Only a publisher that comes anew takes over.
            return Err(Error::PublishRefused(Refusal::Conflict));
        }
        let repeated = admission == Admission::Repeat;
        if !repeated {
            let known = connections::enter(tx, publisher, gate.project_id, now).await?;
            let returns = known == Known::Before && publish.standing;
            if known != Known::New && !returns {
                return Err(Error::PublishRefused(Refusal::ConnectionEnded));
            }
        }

        let stream = match (admission, running) {
            (Admission::Repeat, Some(before)) => {
                let mut stream = before.clone();
                stream.seen(publish.media_flowing, now);
                store(tx, &stream).await?;
                if stream.status == before.status {
                    return_revision(tx, gate.project_id).await?;
                } else {
                    record(tx, revision, Some(&before), &stream, now).await?;
                }
                stream
            }
            (Admission::Resume, Some(before)) => {
                let mut stream = before.clone();
                stream.resume(publisher.clone(), self.timeouts, now);
                stream.key_expire_time = gate.key_expire_time;
                stream.seen(publish.media_flowing, now);
                store(tx, &stream).await?;
                record(tx, revision, Some(&before), &stream, now).await?;
                stream
            }
            (_, running) => {
                if let Some(before) = running {
                    let mut loser = before.clone();
                    loser.end(EndReason::TakenOver, now);
                    store(tx, &loser).await?;
                    record(tx, revision, Some(&before), &loser, now).await?;
                    revision = take_revision(tx, gate.project_id).await?;
                }
                let mut stream =
                    Stream::begin(gate.project_id, publisher.clone(), self.timeouts, now);
                stream.key_expire_time = gate.key_expire_time;
                stream.seen(publish.media_flowing, now);
                insert(tx, &stream).await?;
                record(tx, revision, None, &stream, now).await?;
                stream
            }
        };
        if !repeated || publish.play_url.is_some() {
            store_play_url(tx, stream.id, publish.play_url).await?;
        }
        Ok(stream)
    }
}

/// Takes a stream's connection away, because its media server has started anew;
/// gives the stream if it waits for its publisher now.
async fn lose(
    tx: &mut Transaction,
    before: Stream,
    gate: &PublishGate,
    revision: i64,
    now: Time,
) -> Result<Option<Stream>> {
    let mut lost = before.clone();
    lost.lost(EndReason::NodeLost, gate.window, now);
    store(tx, &lost).await?;
    record(tx, revision, Some(&before), &lost, now).await?;
    Ok(Some(lost).filter(|stream| stream.status != Status::Ended))
}

/// Locks the project that a stream key opens, or opened before it was replaced,
/// and takes its next revision.
async fn open_gate(tx: &mut Transaction, key_hash: &[u8]) -> Result<Option<(PublishGate, i64)>> {
    #[derive(FromRow)]
    struct Gate {
        id: ProjectId,
        disabled: bool,
        publish_held_until: Option<Timestamp>,
        publish_conflict_policy: String,
        reconnect_window_ms: i64,
        key_expire_time: Option<Timestamp>,
        revision: i64,
    }

    let gate = on_engine!(tx, tx => sqlx::query_as::<_, Gate>(
        "update projects
         set revision = revision + 1
         where delete_time is null and (stream_key_hash = $1 or previous_key_hash = $1)
         returning id, disabled, publish_held_until, publish_conflict_policy,
                   reconnect_window_ms, revision,
                   case when stream_key_hash = $1 then null else previous_key_expire_time end
                       as key_expire_time",
    )
    .bind(key_hash)
    .fetch_optional(&mut **tx)
    .await)?;

    gate.map(|gate| {
        let policy = PublishConflictPolicy::parse(&gate.publish_conflict_policy);
        let revision = gate.revision;
        let gate = PublishGate {
            project_id: gate.id,
            disabled: gate.disabled,
            held_until: gate.publish_held_until,
            policy: known("publish_conflict_policy", policy)?,
            window: window_from_millis(gate.reconnect_window_ms)?,
            key_expire_time: gate.key_expire_time,
        };
        Ok((gate, revision))
    })
    .transpose()
}
