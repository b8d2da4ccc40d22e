//! The transaction in which a publisher begins a stream, or resumes it.

use sqlx::{FromRow, Row};

use super::{
    connections::{self, ConnectionHistory},
    node_boots,
    rows::{end, insert, load_active, record, store, store_change, store_play_url},
};
use crate::{
    database::Transaction,
    domain::{
        BeginDecision, EndReason, ProjectId, PublishRules, Publisher, RefusalCause, SealedPlayUrl,
        Stream, StreamState, Time,
    },
    error::{Error, Result},
    repositories::{
        Publishing,
        projects::rows::{return_revision, take_revision},
    },
    telemetry::metrics::SERVER,
};

/// A request to publish.
#[derive(Debug, Clone, Copy)]
pub struct PublishAttempt<'a> {
    /// The SHA-256 hash of the stream key.
    pub key_hash: &'a [u8],
    /// The publishing connection.
    pub publisher: &'a Publisher,
    /// Whether media is flowing already.
    pub media_flowing: bool,
    /// The sealed URL from which the media can be read.
    pub play_url: Option<&'a SealedPlayUrl>,
    /// Whether the media server reports the connection as open. It may then publish again
    /// after its stream has ended, but not take over another stream.
    pub already_connected: bool,
}

impl Publishing {
    /// Accepts or refuses a publisher. `clock` gives the current time: the decision is made
    /// with the time at which the project is locked, however long that takes.
    pub async fn begin(
        &self,
        publish: PublishAttempt<'_>,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<Stream> {
        let begun = self.try_begin(publish, clock).await;
        match &begun {
            Ok(_) => SERVER.publishes_begun.inc(),
            Err(error) => SERVER
                .publishes_refused
                .with_label_values(&[error.reason()])
                .inc(),
        }
        begun
    }

    async fn try_begin(
        &self,
        publish: PublishAttempt<'_>,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<Stream> {
        let publisher = publish.publisher;
        let (node_id, boot_id) = (&publisher.node_id, &publisher.boot_id);
        node_boots::register(&self.database, node_id, boot_id, clock()).await?;

        self.database
            .transaction(|mut tx| async move {
                let LockedProject { rules, revision } =
                    lock_by_key(&mut tx, publish.key_hash).await?;
                let now = clock();
                let begun = self
                    .begin_locked(&mut tx, &rules, revision, publish, now)
                    .await;
                match &begun {
                    Ok(_) => self.database.commit_change(tx, rules.project_id).await?,
                    Err(Error::PublishRefused(refusal)) => {
                        // Rolled back at once, to unlock the project.
                        tx.rollback(()).await?;
                        self.record_refusal(*refusal, rules.project_id, publisher, now)
                            .await;
                    }
                    Err(_) => {}
                }
                begun
            })
            .await
    }

    /// Records a refusal for the owner. A failure does not change the answer to the media
    /// server.
    async fn record_refusal(
        &self,
        refusal: RefusalCause,
        id: ProjectId,
        publisher: &Publisher,
        now: Time,
    ) {
        let Some(reason) = refusal.reason() else {
            return;
        };
        if let Err(error) = self.refusals.add(id, reason, publisher, now).await {
            let error = error.with_causes();
            tracing::warn!(project_id = %id, error, "cannot record a refused publish");
        }
    }

    /// Decides on a publisher under the lock of its project.
    async fn begin_locked(
        &self,
        tx: &mut Transaction,
        rules: &PublishRules,
        mut revision: i64,
        publish: PublishAttempt<'_>,
        now: Time,
    ) -> Result<Stream> {
        let publisher = publish.publisher;
        // Checked again under the lock: a later boot may have registered meanwhile.
        if !node_boots::is_newest(tx, publisher).await? {
            return Err(Error::NodeSuperseded);
        }
        let mut active = load_active(tx, rules.project_id).await?;
        if let Some(lost) = active.take_if(|stream| stream.is_from_other_boot(publisher)) {
            active = mark_lost(tx, lost, rules, revision, now).await?;
            revision = take_revision(tx, rules.project_id).await?;
        }

        let decision = rules.decide(active.as_ref(), publisher, now);
        let decision = decision.map_err(Error::PublishRefused)?;
        if publish.already_connected && decision == BeginDecision::TakeOver {
            // Only a new connection takes over.
            return Err(Error::PublishRefused(RefusalCause::Conflict));
        }
        let repeated = decision == BeginDecision::Repeat;
        if !repeated {
            let history = connections::record_begin(tx, publisher, rules.project_id, now).await?;
            let returns = history == ConnectionHistory::Published && publish.already_connected;
            if history != ConnectionHistory::New && !returns {
                return Err(Error::PublishRefused(RefusalCause::ConnectionEnded));
            }
        }

        let stream = match (decision, active) {
            (BeginDecision::Repeat, Some(before)) => {
                let mut stream = before.clone();
                stream.record_activity(publish.media_flowing, now);
                store(tx, &stream).await?;
                if stream.state == before.state {
                    return_revision(tx, rules.project_id).await?;
                } else {
                    record(tx, revision, Some(&before), &stream, now).await?;
                }
                stream
            }
            (BeginDecision::Resume, Some(before)) => {
                let mut stream = before.clone();
                stream.resume(publisher.clone(), self.timeouts, now);
                stream.key_expire_time = rules.key_expire_time;
                stream.record_activity(publish.media_flowing, now);
                store_change(tx, revision, &before, &stream, now).await?;
                stream
            }
            (_, active) => {
                if let Some(before) = active {
                    end(tx, before, EndReason::TakenOver, revision, now).await?;
                    revision = take_revision(tx, rules.project_id).await?;
                }
                let publisher = publisher.clone();
                let mut stream = Stream::begin(rules.project_id, publisher, self.timeouts, now);
                stream.key_expire_time = rules.key_expire_time;
                stream.record_activity(publish.media_flowing, now);
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

/// Disconnects a stream whose media server has restarted. Returns the stream if it waits
/// for its publisher to reconnect.
async fn mark_lost(
    tx: &mut Transaction,
    before: Stream,
    rules: &PublishRules,
    revision: i64,
    now: Time,
) -> Result<Option<Stream>> {
    let mut lost = before.clone();
    lost.lose_connection(EndReason::NodeLost, rules.window, now);
    store_change(tx, revision, &before, &lost, now).await?;
    Ok(Some(lost).filter(|stream| stream.state != StreamState::Ended))
}

/// A project that a transaction has locked.
#[derive(FromRow)]
struct LockedProject {
    #[sqlx(flatten)]
    rules: PublishRules,
    /// The next revision.
    revision: i64,
}

/// Locks the project that has or had this stream key, and takes its next revision. The account
/// of its owner must not be deleted. A suspension that is not seen here ends the stream.
///
/// Each kind of key is looked up by itself. With statistics, SQLite reads all projects for one
/// condition on the three: most projects have no other key than the current one, and its index
/// looks useless. The condition beside them is for keys that change before the lock.
async fn lock_by_key(tx: &mut Transaction, key_hash: &[u8]) -> Result<LockedProject> {
    fetch_optional!(
        tx,
        "update projects
         set revision = revision + 1
         where id in (
               select k.id from projects k where k.stream_key_hash = $1
               union all select k.id from projects k where k.previous_key_hash = $1
               union all select k.id from projects k where k.replaced_key_hash = $1)
           and delete_time is null
           and $1 in (stream_key_hash, previous_key_hash, replaced_key_hash)
           and not exists (
               select 1
               from users u
               where u.id = projects.owner_id and u.delete_time is not null)
         returning id, disabled, publish_held_until, publish_conflict_policy,
                   reconnect_window_ms, revision,
                   case when previous_key_hash = $1 then previous_key_expire_time end
                       as key_expire_time,
                   coalesce(replaced_key_hash = $1, false) as key_replaced,
                   exists (
                       select 1
                       from users u
                       where u.id = projects.owner_id and u.suspend_time is not null)
                       as suspended",
        [key_hash]
    )?
    .ok_or(Error::StreamKeyInvalid)
}

impl_from_row!(
    PublishRules:
    suspended, disabled, key_replaced, key_expire_time;
    |row|
    project_id: row.try_get("id")?,
    held_until: row.try_get("publish_held_until")?,
    policy: row.try_get("publish_conflict_policy")?,
    window: row.try_get("reconnect_window_ms")?,
);
