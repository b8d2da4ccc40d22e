//! The changes that a report of a media server makes, written together.
//!
//! On PostgreSQL they are one statement without a transaction around it: it locks the project
//! and the stream, and writes only if both are as they were read. On SQLite they are a transaction
//! of queued statements, which checks the same and runs in one trip. So a publish that meets no
//! other change of its project holds no lock while a message travels, and needs two round trips
//! instead of ten. It never waits for a lock: the caller then decides again in a transaction that
//! holds the locks ([`lock`]), with the time at which it got them.
//!
//! The revision of the project tells whether anything has changed that decides about a publisher,
//! except what reports change: its last report and measured bytes tell that of the stream.

use serde::Serialize;
use sqlx::{FromRow, Row};
use tracing::Instrument;

use super::{
    connections,
    publish_statements::{WRITE_ALL, WRITE_BEGIN, WRITE_CHANGE},
    rows::{insert, store, store_play_url},
};
use crate::{
    database::{Check, Database, Engine, QueueStatements, Requester, Transaction},
    domain::{
        Change, DestinationId, MediaIssue, OutagePolicy, ProjectId, Publisher, Relay,
        SealedPlayUrl, Stream, StreamDelay, StreamId, Time,
    },
    error::{Error, Result},
    repositories::{
        projects::events,
        relays::{
            rows as relay_rows,
            stream_changes::{RelayChange, reset_silence},
        },
    },
};

/// A project and its stream, as a report finds them.
#[derive(Debug, Clone)]
pub(super) struct PublishState {
    pub project_id: ProjectId,
    /// The revision of the project.
    pub revision: i64,
    /// The stream that may change.
    pub stream: Option<Stream>,
    /// The time of its own last report, which every heartbeat changes.
    pub stored_seen_time: Option<Time>,
    /// The destinations to which relays start if the stream goes live.
    pub enabled_destinations: Vec<DestinationId>,
}

/// What a report changes about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionChange {
    /// It publishes for the first time.
    Begins,
    /// It has ended.
    Ends,
}

/// The events and relays that a transaction of queued statements writes at most: each has up to 20
/// arguments, and SQLite takes 32,766.
const MAX_QUEUED_ROWS: usize = 500;

/// A relay of the stream, and the delay of its destination.
#[derive(Debug, FromRow)]
pub(super) struct StreamRelay {
    #[sqlx(flatten)]
    relay: Relay,
    delay_ms: i32,
}

/// The changes of a project, with the state that they depend on.
#[derive(Debug)]
pub(super) struct PublishChanges {
    state: PublishState,
    publisher: Publisher,
    now: Time,
    /// Whether the boot of the publisher must be the newest one of its node.
    pub of_newest_boot: bool,
    pub connection: Option<ConnectionChange>,
    /// Whether the relays of the stream follow another connection.
    pub outage_policy: OutagePolicy,
    /// The new state of the stream that was read.
    changed: Option<Stream>,
    added: Option<Stream>,
    /// The play URL of the newest connection, if it is to be written.
    pub play_url: Option<Option<SealedPlayUrl>>,
    relays: Vec<StreamRelay>,
    added_relays: Vec<Relay>,
    changed_relays: Vec<Relay>,
    resets_silence: bool,
    events: Vec<(i64, Change)>,
}

impl PublishChanges {
    /// No changes yet. `relays` are those of the stream, if they may change.
    pub fn new(
        state: PublishState,
        relays: Vec<StreamRelay>,
        publisher: &Publisher,
        now: Time,
    ) -> Self {
        Self {
            state,
            publisher: publisher.clone(),
            now,
            of_newest_boot: false,
            connection: None,
            outage_policy: OutagePolicy::End,
            changed: None,
            added: None,
            play_url: None,
            relays,
            added_relays: Vec::new(),
            changed_relays: Vec::new(),
            resets_silence: false,
            events: Vec::new(),
        }
    }

    /// Stores the stream without an event, such as a heartbeat.
    pub fn refresh(&mut self, stream: &Stream) {
        self.changed = Some(stream.clone());
    }

    /// Changes the stream from `before`, with an event and the changes of its relays.
    pub fn change(&mut self, before: &Stream, stream: &Stream) {
        self.record(Some(before), stream);
        self.changed = Some(stream.clone());
    }

    /// Adds a stream, with its event and relays.
    pub fn add(&mut self, stream: &Stream) {
        self.record(None, stream);
        self.added = Some(stream.clone());
    }

    fn record(&mut self, before: Option<&Stream>, stream: &Stream) {
        self.push(Change::Stream(stream.clone()));
        match RelayChange::of(before, stream, self.outage_policy) {
            RelayChange::None => {}
            RelayChange::Start => {
                for destination_id in std::mem::take(&mut self.state.enabled_destinations) {
                    let relay = Relay::new(stream, destination_id, self.now);
                    self.push(Change::Relay(relay.clone()));
                    self.added_relays.push(relay);
                }
            }
            RelayChange::Each(change) => self.change_relays(|relay, _, now| change(relay, now)),
            RelayChange::Drain => self.change_relays(Relay::drain),
            RelayChange::Follow => {
                self.resets_silence = true;
                self.change_relays(|relay, _, now| relay.follow(now));
            }
            RelayChange::ResetSilence => self.resets_silence = true,
        }
    }

    fn change_relays(&mut self, change: impl Fn(&mut Relay, StreamDelay, Time) -> bool) {
        for StreamRelay {
            mut relay,
            delay_ms,
        } in std::mem::take(&mut self.relays)
        {
            if change(&mut relay, StreamDelay::from_millis(delay_ms), self.now) {
                self.push(Change::Relay(relay.clone()));
                self.changed_relays.push(relay);
            }
        }
    }

    /// Takes the next revision for a change.
    fn push(&mut self, change: Change) {
        let events = i64::try_from(self.events.len()).unwrap_or(i64::MAX);
        let revision = self.state.revision.saturating_add(events).saturating_add(1);
        self.events.push((revision, change));
    }

    /// The revision of the project after the changes.
    fn revision(&self) -> i64 {
        let last = self.events.last();
        last.map_or(self.state.revision, |(revision, _)| *revision)
    }

    /// Writes the changes if nothing that they depend on has changed or is locked, and notifies
    /// the watchers; returns whether they are written. Continues if the caller goes away.
    pub async fn write(self, database: &Database) -> Result<bool> {
        match database.writer() {
            Engine::Postgres(_) => self.write_statement(database).await,
            Engine::Sqlite(_) => self.write_queued(database).await,
        }
    }

    /// The same on SQLite.
    async fn write_queued(&self, database: &Database) -> Result<bool> {
        let rows = self.events.len() + self.added_relays.len() + self.changed_relays.len();
        if rows > MAX_QUEUED_ROWS {
            return Ok(false);
        }
        let written = database
            .queued_transaction(|mut tx| async move {
                self.check_unchanged(&mut tx).await?;
                self.write_rows(&mut tx).await?;
                match self.events.is_empty() {
                    true => tx.commit(()).await,
                    false => {
                        database
                            .commit_queued_change(tx, self.state.project_id)
                            .await
                    }
                }
            })
            .await;
        match written {
            Ok(()) => Ok(true),
            Err(Error::ConcurrentChange) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fails with `ConcurrentChange` if the changes depend on something that has changed.
    async fn check_unchanged(&self, tx: &mut impl QueueStatements) -> Result<()> {
        let unchanged = Check::returns_row(|| Error::ConcurrentChange);
        queue!(
            tx,
            "select id
             from projects
             where id = $1 and revision = $2
               and (not $3 or $5 = (
                   select b.boot_id
                   from node_boots b
                   where b.node_id = $4
                   order by b.create_time desc, b.boot_id desc
                   limit 1))",
            [
                self.state.project_id,
                self.state.revision,
                self.of_newest_boot,
                &self.publisher.node_id,
                &self.publisher.boot_id
            ],
            unchanged
        )?;
        let Some(read) = &self.state.stream else {
            return Ok(());
        };
        queue!(
            tx,
            "select id
             from streams
             where id = $1 and last_seen_time = $2 and bytes_received is not distinct from $3",
            [
                read.id,
                self.state.stored_seen_time,
                read.stats.as_ref().map(|stats| stats.bytes_received)
            ],
            unchanged
        )
    }

    /// The same on PostgreSQL.
    async fn write_statement(self, database: &Database) -> Result<bool> {
        let database = database.clone();
        let writing = async move {
            let Engine::Postgres(executor) = database.writer() else {
                return Ok(false);
            };
            let query = self.statement()?;
            let written = match query.fetch_one(executor).await {
                Ok(row) => row.try_get(0)?,
                Err(error) => match Error::from(error) {
                    Error::LostRace(_) | Error::ConcurrentChange => false,
                    error => return Err(error),
                },
            };
            if written && !self.events.is_empty() {
                database
                    .change_notifications()
                    .notify(self.state.project_id);
            }
            Ok::<_, Error>(written)
        };
        let writing = Requester::scope(Requester::current(), writing);
        let written = tokio::spawn(writing.in_current_span()).await;
        written.map_err(Error::internal)?
    }

    /// Writes the changes in a transaction that has locked what they depend on, commits it, and
    /// notifies the watchers.
    pub async fn commit(self, database: &Database, mut tx: Transaction) -> Result<()> {
        match &mut tx {
            Transaction::Postgres(connection) => {
                let row = self.statement()?.fetch_one(&mut **connection).await?;
                if !row.try_get::<bool, _>(0)? {
                    return Err(Error::ConcurrentChange);
                }
            }
            Transaction::Sqlite(_) => self.write_rows(&mut tx).await?,
        }
        match self.events.is_empty() {
            true => tx.commit(()).await,
            false => database.commit_change(tx, self.state.project_id).await,
        }
    }

    /// The shortest statement that has all changes.
    fn sql(&self) -> &'static str {
        let has_relays = !self.added_relays.is_empty() || !self.changed_relays.is_empty();
        let begins = self.connection == Some(ConnectionChange::Begins);
        match (&self.changed, &self.added) {
            _ if has_relays || self.resets_silence => WRITE_ALL,
            (None, Some(_)) if begins => WRITE_BEGIN,
            (_, None) if !begins => WRITE_CHANGE,
            _ => WRITE_ALL,
        }
    }

    /// One statement with all changes. It returns whether they are written.
    fn statement(&self) -> Result<PostgresQuery> {
        let read = self.state.stream.as_ref();
        let revisions: Vec<i64> = self.events.iter().map(|(revision, _)| *revision).collect();
        let changes = self.events.iter().map(|(_, change)| json(change));
        let play_url = self.play_url.as_ref().and_then(Option::as_ref);
        Ok(sqlx::query(self.sql())
            .bind(self.state.project_id)
            .bind(self.state.revision)
            .bind(self.revision())
            .bind(read.map(|stream| stream.id))
            .bind(self.state.stored_seen_time)
            .bind(self.publisher.node_id.clone())
            .bind(self.publisher.boot_id.clone())
            .bind(self.publisher.connection_id.clone())
            .bind(self.of_newest_boot)
            .bind(self.connection == Some(ConnectionChange::Begins))
            .bind(self.connection == Some(ConnectionChange::Ends))
            .bind(self.now)
            .bind(self.changed.as_ref().map(json).transpose()?)
            .bind(self.added.as_ref().map(json).transpose()?)
            .bind(self.play_url.is_some())
            .bind(play_url.map(|url| url.id))
            .bind(play_url.map(|url| url.sealed.clone()))
            .bind(revisions)
            .bind(changes.collect::<Result<Vec<String>>>()?)
            .bind(relays_json(&self.added_relays)?)
            .bind(relays_json(&self.changed_relays)?)
            .bind(self.resets_silence)
            .bind(read.and_then(|stream| Some(stream.stats.as_ref()?.bytes_received))))
    }

    /// Queues the changes row by row, for SQLite.
    async fn write_rows(&self, tx: &mut impl QueueStatements) -> Result<()> {
        let (project_id, now) = (self.state.project_id, self.now);
        match self.connection {
            Some(ConnectionChange::Begins) => {
                connections::insert(tx, &self.publisher, project_id, now).await?;
            }
            Some(ConnectionChange::Ends) => {
                connections::record_end(tx, &self.publisher, project_id, now).await?;
            }
            None => {}
        }
        if let Some(stream) = &self.changed {
            store(tx, stream).await?;
        }
        if let Some(stream) = &self.added {
            insert(tx, stream).await?;
        }
        let newest = self.added.as_ref().or(self.changed.as_ref());
        if let (Some(stream), Some(play_url)) = (newest, &self.play_url)
            && (play_url.is_some() || self.added.is_none())
        {
            store_play_url(tx, stream.id, play_url.as_ref()).await?;
        }
        for relay in &self.added_relays {
            relay_rows::insert(tx, relay).await?;
        }
        for relay in &self.changed_relays {
            relay_rows::store(tx, relay).await?;
        }
        if let (true, Some(stream)) = (self.resets_silence, &self.changed) {
            reset_silence(tx, stream.id, now).await?;
        }
        for (revision, change) in &self.events {
            events::record(tx, project_id, *revision, change, now).await?;
        }
        match self.events.is_empty() {
            true => Ok(()),
            false => set_revision(tx, project_id, self.revision()).await,
        }
    }
}

/// Locks a project for a decision until the transaction ends, and a stream of it: the one that has
/// not ended unless another is given. On SQLite nothing else writes meanwhile.
pub(super) async fn lock(
    tx: &mut Transaction,
    project_id: ProjectId,
    stream_id: Option<StreamId>,
) -> Result<()> {
    if let Transaction::Sqlite(_) = tx {
        return Ok(());
    }
    let _: Option<ProjectId> = fetch_optional_scalar!(
        tx,
        "select id from projects where id = $1 for no key update",
        [project_id]
    )?;
    let _: Option<StreamId> = match stream_id {
        Some(id) => fetch_optional_scalar!(
            tx,
            "select id from streams where id = $1 for no key update",
            [id]
        ),
        None => fetch_optional_scalar!(
            tx,
            "select id
             from streams
             where project_id = $1 and end_time is null
             for no key update",
            [project_id]
        ),
    }?;
    Ok(())
}

/// Reads the relays of a stream, with the delays of their destinations.
macro_rules! load_relays {
    ($target:expr, $id:expr) => {
        fetch_all!(
            $target,
            concat!(
                "select ",
                $crate::repositories::relays::rows::relay_columns!("r."),
                ", d.delay_ms
                  from relays r
                  join destinations d on d.id = r.destination_id
                  where r.stream_id = $1
                  order by r.destination_id"
            ),
            [$id]
        )
    };
}
pub(super) use load_relays;

/// The enabled destinations of a project as JSON: `$ids` aggregates their ids `d.id`.
macro_rules! destination_ids {
    ($ids:literal, $project:literal) => {
        concat!(
            "(select ",
            $ids,
            " from destinations d where d.project_id = ",
            $project,
            " and d.enabled and d.delete_time is null)"
        )
    };
}
pub(super) use destination_ids;

impl_from_row!(
    PublishState:
    revision, stored_seen_time;
    |row|
    project_id: row.try_get("found_project_id")?,
    stream: match row.try_get::<Option<StreamId>, _>("id")? {
        None => None,
        Some(_) => Some(Stream::from_row(row)?),
    },
    enabled_destinations: match row.try_get::<Option<String>, _>("destination_ids")? {
        None => Vec::new(),
        Some(ids) => ordered_ids(&ids)?,
    },
);

/// Ids from a JSON array, in their order.
fn ordered_ids(json: &str) -> sqlx::Result<Vec<DestinationId>> {
    let ids = serde_json::from_str::<Vec<DestinationId>>(json);
    let mut ids = ids.map_err(|error| sqlx::Error::Decode(error.into()))?;
    ids.sort_unstable_by_key(|id| id.uuid());
    Ok(ids)
}

async fn set_revision(tx: &mut impl QueueStatements, id: ProjectId, revision: i64) -> Result<()> {
    queue!(
        tx,
        "update projects set revision = $2 where id = $1",
        [id, revision],
        Check::default()
    )
}

type PostgresQuery =
    sqlx::query::Query<'static, sqlx_postgres::Postgres, sqlx_postgres::PgArguments>;

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

/// The columns that the start, the end and the move of a stream write.
#[derive(Serialize)]
struct RelayRow {
    stream_id: StreamId,
    destination_id: DestinationId,
    wanted: bool,
    state: &'static str,
    ready_time: Time,
    bitrate_bps: i64,
    update_time: Time,
    issues: Vec<MediaIssue>,
}

fn relays_json(relays: &[Relay]) -> Result<Option<String>> {
    let rows = relays.iter().map(|relay| RelayRow {
        stream_id: relay.stream_id,
        destination_id: relay.destination_id,
        wanted: relay.wanted,
        state: relay.state.as_str(),
        ready_time: relay.ready_time,
        bitrate_bps: relay.bitrate_bps,
        update_time: relay.update_time,
        issues: relay.issues.clone(),
    });
    match relays {
        [] => Ok(None),
        _ => json(&rows.collect::<Vec<_>>()).map(Some),
    }
}
