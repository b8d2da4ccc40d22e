//! The decision on a publisher who begins a stream, or resumes it.

use sqlx::Row;

use super::{
    connections::ConnectionHistory,
    node_boots::{self, NewestBoot},
    publish_changes::{
        ConnectionChange, PublishChanges, PublishState, StreamRelay, destination_ids, load_relays,
        lock,
    },
    rows::stream_columns,
};
use crate::{
    database::{Engine, Transaction},
    domain::{
        BeginDecision, EndReason, ProjectId, PublishRules, Publisher, QuotaExcess, QuotaKind,
        RefusalCause, SealedPlayUrl, Stream, StreamId, StreamState, Time,
    },
    error::{Error, Result},
    repositories::{Publishing, quotas},
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

/// The project that has or had the stream key `$1`. Each kind of key is looked up by itself, so
/// that each has its index.
macro_rules! project_of_key {
    () => {
        "(select id from projects where stream_key_hash = $1
          union all
          select id from projects where previous_key_hash = $1
          union all
          select id from projects where replaced_key_hash = $1
          limit 1)"
    };
}

/// Selects [`BeginState`]: one row, even if no project has the stream key. The account of the
/// project's owner must not be deleted. A suspension that is not seen here ends the stream.
///
/// The project is a value and not a table to be joined. So every plan looks rows up, even one
/// that PostgreSQL has made for few rows.
macro_rules! select_begin_state {
    ($ids:literal) => {
        concat!(
            "select p.id as found_project_id, p.disabled, p.publish_held_until,
                    p.publish_conflict_policy, p.outage_policy, p.reconnect_window_ms,
                    p.revision, p.suspended, p.limited_organization,
                    case when p.previous_key_hash = $1 then p.previous_key_expire_time end
                        as previous_key_expire_time,
                    coalesce(p.replaced_key_hash = $1, false) as key_replaced,
                    b.boot_id as newest_boot_id, b.create_time as newest_boot_time,
                    n.last_report_time,
                    c.create_time is not null as has_published,
                    c.end_time is not null as has_ended,
                    case when $5 then ",
            destination_ids!($ids, "p.id"),
            " end as destination_ids, s.last_seen_time as stored_seen_time, ",
            stream_columns!("s."),
            " from (select 1 as is_there) report
             left join (
                 select boot_id, create_time
                 from node_boots
                 where node_id = $2
                 order by create_time desc, boot_id desc
                 limit 1) b on true
             left join nodes n on n.node_id = $2
             left join (
                 select k.id, k.disabled, k.publish_held_until, k.publish_conflict_policy,
                        k.outage_policy, k.reconnect_window_ms, k.revision,
                        k.previous_key_hash, k.previous_key_expire_time, k.replaced_key_hash,
                        coalesce(u.suspend_time, o.suspend_time) is not null as suspended,
                        q.organization_id as limited_organization
                 from projects k
                 join organizations o on o.id = k.owner_id
                 left join users u on u.id = k.owner_id
                 left join quotas q on q.organization_id = k.owner_id
                 where k.delete_time is null and o.delete_time is null and k.id = ",
            project_of_key!(),
            ") p on true
             left join streams s on s.end_time is null and s.project_id = ",
            project_of_key!(),
            " left join publishes c
               on c.node_id = $2 and c.boot_id = $3 and c.connection_id = $4
              and c.project_id = ",
            project_of_key!(),
        )
    };
}

/// What a decision on a publisher depends on, as of one moment.
#[derive(Debug)]
struct BeginState {
    newest_boot: Option<NewestBoot>,
    has_published: bool,
    has_ended: bool,
    /// `None` if no project has the stream key.
    project: Option<(PublishRules, PublishState)>,
}

/// What happens with an accepted publisher.
#[derive(Debug)]
struct Decision {
    rules: PublishRules,
    state: PublishState,
    kind: BeginDecision,
    /// The stream of the project, after the loss of a connection of an earlier boot.
    active: Option<Stream>,
    /// Whether the connection has published before, and publishes again.
    returns: bool,
}

/// Reads [`BeginState`] in a transaction, or on its own.
macro_rules! read_begin_state {
    ($target:expr, $publish:expr, $is_postgres:expr) => {{
        let (publish, publisher) = ($publish, $publish.publisher);
        let sql = match $is_postgres {
            true => select_begin_state!("json_agg(d.id)::text"),
            false => select_begin_state!("json_group_array(hex(d.id))"),
        };
        fetch_one!(
            $target,
            sql,
            [
                publish.key_hash,
                &publisher.node_id,
                &publisher.boot_id,
                &publisher.connection_id,
                publish.media_flowing
            ]
        )
    }};
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
        let is_postgres = matches!(self.database.reader(), Engine::Postgres(_));
        let mut read: BeginState = read_begin_state!(self.database.reader(), publish, is_postgres)?;
        let (node_id, boot_id) = (&publish.publisher.node_id, &publish.publisher.boot_id);
        let known = read.newest_boot.take();
        node_boots::register_after(&self.database, known, node_id, boot_id, clock()).await?;

        let project = read.project.as_ref();
        let project_id = project.ok_or(Error::StreamKeyInvalid)?.1.project_id;
        let unlocked = self.begin_unlocked(read, publish, clock()).await;
        let begun = match unlocked.transpose() {
            Some(begun) => begun,
            None => self.begin_locked(project_id, publish, clock).await,
        };
        if let Err(Error::PublishRefused(refusal)) = &begun {
            self.record_refusal(*refusal, project_id, publish.publisher, clock())
                .await;
        }
        begun
    }

    /// Decides without a lock. `None` if the project is locked, or changes meanwhile.
    async fn begin_unlocked(
        &self,
        read: BeginState,
        publish: PublishAttempt<'_>,
        now: Time,
    ) -> Result<Option<Stream>> {
        let decision = match read.decide(publish, now) {
            // The end of the other connection may be under way: the lock waits for it.
            Err(Error::PublishRefused(RefusalCause::Conflict)) => return Ok(None),
            decided => decided?,
        };
        if decision.returns {
            // Its end takes no revision, so it could be missed.
            return Ok(None);
        }
        if decision.has_quota() {
            // The streams of other projects count too.
            return Ok(None);
        }
        let relays: Vec<StreamRelay> = match decision.stream_with_relays() {
            Some(id) => load_relays!(self.database.reader(), id)?,
            None => Vec::new(),
        };
        let (mut changes, stream) = self.changes_of(decision, relays, publish, now);
        changes.of_newest_boot = true;
        let written = changes.write(&self.database).await?;
        Ok(written.then_some(stream))
    }

    /// Decides under the lock of the project.
    async fn begin_locked(
        &self,
        project_id: ProjectId,
        publish: PublishAttempt<'_>,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<Stream> {
        self.database
            .transaction(|mut tx| async move {
                lock(&mut tx, project_id, None).await?;
                let now = clock();
                let is_postgres = matches!(tx, Transaction::Postgres(_));
                let read: BeginState = read_begin_state!(tx, publish, is_postgres)?;
                let decision = match read.decide_locked(project_id, publish, now) {
                    Ok(decision) => decision,
                    // Rolled back at once, to unlock the project.
                    Err(refusal) => return tx.rollback(()).await.and(Err(refusal)),
                };
                if let Some(excess) = decision.excess(&mut tx, now).await? {
                    let refusal = Error::PublishRefused(RefusalCause::QuotaExceeded(excess));
                    return tx.rollback(()).await.and(Err(refusal));
                }
                let relays: Vec<StreamRelay> = match decision.stream_with_relays() {
                    Some(id) => load_relays!(tx, id)?,
                    None => Vec::new(),
                };
                let (changes, stream) = self.changes_of(decision, relays, publish, now);
                changes.commit(&self.database, tx).await?;
                Ok(stream)
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

    /// The changes of a decision, and the stream that the connection holds then.
    fn changes_of(
        &self,
        decision: Decision,
        relays: Vec<StreamRelay>,
        publish: PublishAttempt<'_>,
        now: Time,
    ) -> (PublishChanges, Stream) {
        let Decision {
            rules,
            state,
            kind,
            active,
            returns,
        } = decision;
        let publisher = publish.publisher;
        let repeated = kind == BeginDecision::Repeat;
        let read = state.stream.clone();
        let mut changes = PublishChanges::new(state, relays, publisher, now);
        changes.outage_policy = rules.outage_policy;
        changes.connection = (!repeated && !returns).then_some(ConnectionChange::Begins);
        if !repeated || publish.play_url.is_some() {
            changes.play_url = Some(publish.play_url.cloned());
        }
        if let Some(before) = read.filter(|stream| stream.is_from_other_boot(publisher)) {
            changes.change(&before, &lost(&before, &rules, now));
        }

        let stream = match (kind, active) {
            (BeginDecision::Repeat, Some(before)) => {
                let mut stream = before.clone();
                stream.record_activity(publish.media_flowing, now);
                match stream.state == before.state {
                    true => changes.refresh(&stream),
                    false => changes.change(&before, &stream),
                }
                stream
            }
            (BeginDecision::Resume | BeginDecision::Replace, Some(before)) => {
                let mut stream = before.clone();
                stream.resume(publisher.clone(), self.timeouts, now);
                stream.key_expire_time = rules.key_expire_time;
                stream.record_activity(publish.media_flowing, now);
                changes.change(&before, &stream);
                stream
            }
            (_, active) => {
                if let Some(before) = active {
                    let mut ended = before.clone();
                    ended.end(EndReason::TakenOver, now);
                    changes.change(&before, &ended);
                }
                let publisher = publisher.clone();
                let mut stream = Stream::begin(rules.project_id, publisher, self.timeouts, now);
                stream.key_expire_time = rules.key_expire_time;
                stream.record_activity(publish.media_flowing, now);
                changes.add(&stream);
                stream
            }
        };
        (changes, stream)
    }
}

impl BeginState {
    /// Decides on a publisher whose boot has registered.
    fn decide(self, publish: PublishAttempt<'_>, now: Time) -> Result<Decision> {
        let (rules, state) = self.project.ok_or(Error::StreamKeyInvalid)?;
        let publisher = publish.publisher;
        let mut active = state.stream.clone();
        if let Some(before) = active.take_if(|stream| stream.is_from_other_boot(publisher)) {
            let lost = lost(&before, &rules, now);
            active = Some(lost).filter(|stream| stream.state != StreamState::Ended);
        }

        let kind = rules.decide(active.as_ref(), publisher, now);
        let kind = kind.map_err(Error::PublishRefused)?;
        let takes_over = matches!(kind, BeginDecision::TakeOver | BeginDecision::Replace);
        if publish.already_connected && takes_over {
            // Only a new connection takes over.
            return Err(Error::PublishRefused(RefusalCause::Conflict));
        }
        let history = ConnectionHistory::of(self.has_published, self.has_ended);
        let is_new = history == ConnectionHistory::New;
        let returns = history == ConnectionHistory::Published && publish.already_connected;
        if kind != BeginDecision::Repeat && !is_new && !returns {
            return Err(Error::PublishRefused(RefusalCause::ConnectionEnded));
        }
        Ok(Decision {
            rules,
            state,
            kind,
            active,
            returns: returns && kind != BeginDecision::Repeat,
        })
    }

    /// The same under the lock of a project. A later boot may have registered meanwhile, and
    /// the project may have another key.
    fn decide_locked(
        self,
        project_id: ProjectId,
        publish: PublishAttempt<'_>,
        now: Time,
    ) -> Result<Decision> {
        let newest = self.newest_boot.as_ref().map(|boot| &boot.boot_id);
        if newest != Some(&publish.publisher.boot_id) {
            return Err(Error::NodeSuperseded);
        }
        let decision = self.decide(publish, now)?;
        match decision.rules.project_id == project_id {
            true => Ok(decision),
            false => Err(Error::StreamKeyInvalid),
        }
    }
}

impl Decision {
    /// What a quota limits of the stream that begins.
    fn quotas(&self) -> &'static [QuotaKind] {
        self.kind.quotas(self.state.stream.is_some())
    }

    /// Whether a quota limits the stream that begins.
    fn has_quota(&self) -> bool {
        self.rules.limited_organization.is_some() && !self.quotas().is_empty()
    }

    /// The limit that the stream that begins would exceed.
    async fn excess(&self, tx: &mut Transaction, now: Time) -> Result<Option<QuotaExcess>> {
        match self.rules.limited_organization {
            Some(id) if self.has_quota() => quotas::reached(tx, id, self.quotas(), now).await,
            _ => Ok(None),
        }
    }

    /// The stream whose relays may change.
    fn stream_with_relays(&self) -> Option<StreamId> {
        let stream = self.state.stream.as_ref();
        let stream = stream.filter(|stream| stream.live_time.is_some());
        match self.kind {
            BeginDecision::Repeat => None,
            _ => stream.map(|stream| stream.id),
        }
    }
}

/// A stream whose media server has restarted: it waits for its publisher to reconnect, or has
/// ended.
fn lost(before: &Stream, rules: &PublishRules, now: Time) -> Stream {
    let mut lost = before.clone();
    lost.lose_connection(EndReason::NodeLost, rules.window, now);
    lost
}

impl_from_row!(
    PublishRules:
    suspended, disabled, key_replaced, limited_organization;
    |row|
    project_id: row.try_get("found_project_id")?,
    held_until: row.try_get("publish_held_until")?,
    policy: row.try_get("publish_conflict_policy")?,
    outage_policy: row.try_get("outage_policy")?,
    window: row.try_get("reconnect_window_ms")?,
    key_expire_time: row.try_get("previous_key_expire_time")?,
);

impl_from_row!(
    BeginState:
    has_published, has_ended;
    |row|
    newest_boot: match row.try_get::<Option<String>, _>("newest_boot_id")? {
        None => None,
        Some(_) => Some(NewestBoot::from_row(row)?),
    },
    project: match row.try_get::<Option<ProjectId>, _>("found_project_id")? {
        None => None,
        Some(_) => Some((PublishRules::from_row(row)?, PublishState::from_row(row)?)),
    },
);
