use super::{
    progress::RelayProgress,
    rows::{insert, load, record_with_revision, relay_columns, store},
};
use crate::{
    database::{Database, Transaction},
    domain::{
        AuditContext, DestinationId, Page, Relay, RelayState, Stream, StreamId, StreamState,
        Tenant, Time,
    },
    error::{Error, Result},
    repositories::{
        IdempotencyKey, Streams, audit_log,
        idempotency::change_once,
        projects::rows::{lock_owned, return_revision},
        sql::owned_by,
        streams::rows as stream_rows,
    },
};

/// Relays, for their owners.
#[derive(Debug, Clone)]
pub struct Relays {
    database: Database,
}

impl Relays {
    /// Relays in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The relays of a stream, in the order in which their destinations were created; with
    /// `state` only those in this state.
    pub async fn list(
        &self,
        tenant: Tenant,
        id: StreamId,
        state: Option<RelayState>,
        page: Page,
    ) -> Result<Vec<Relay>> {
        let mut relays: Vec<Relay> = fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                relay_columns!("r."),
                " from relays r
                 join projects p on p.id = r.project_id
                 join destinations d on d.id = r.destination_id and d.delete_time is null
                 where r.stream_id = $1 and ",
                owned_by!("$2", "$3", "$7"),
                " and r.destination_id > $4 and ($5 is null or r.state = $5)
                  order by r.destination_id
                  limit $6",
            ),
            [
                id,
                tenant.user,
                tenant.key,
                page.above(),
                state.map(RelayState::as_str),
                page.limit(),
                tenant.roles()
            ]
        )?;
        let progress = self.database.local_state::<RelayProgress>();
        progress.add_to_all(&mut relays);
        Ok(relays)
    }

    /// Starts or stops the relay of a live stream to a destination of its project, or stops one that
    /// drains. One that has never been started is stored when it starts. A repeated request changes
    /// nothing.
    pub async fn change(
        &self,
        tenant: Tenant,
        ids: (StreamId, DestinationId),
        change: fn(&mut Relay, Time) -> bool,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Relay> {
        let apply = self.apply(tenant, ids, change, idempotency, audit, now);
        let get = |_| self.get(tenant, ids, now);
        change_once(&self.database, idempotency, now, apply, get).await
    }

    /// A relay; one that has never been started if it is not stored.
    async fn get(
        &self,
        tenant: Tenant,
        (stream_id, destination_id): (StreamId, DestinationId),
        now: Time,
    ) -> Result<Relay> {
        let stream = Streams::new(self.database.clone())
            .get(tenant, stream_id)
            .await?;
        let mut stored: Option<Relay> = fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                relay_columns!(""),
                " from relays where stream_id = $1 and destination_id = $2",
            ),
            [stream_id, destination_id]
        )?;
        let progress = self.database.local_state::<RelayProgress>();
        progress.add_to_all(&mut stored);
        Ok(stored.unwrap_or_else(|| Relay::new(&stream, destination_id, now)))
    }

    async fn apply(
        &self,
        tenant: Tenant,
        (stream_id, destination_id): (StreamId, DestinationId),
        change: fn(&mut Relay, Time) -> bool,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Relay> {
        let streams = Streams::new(self.database.clone());
        let project_id = streams.get(tenant, stream_id).await?.project_id;

        self.database
            .transaction(|mut tx| async move {
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                let stream = load_stream(&mut tx, stream_id, destination_id).await?;
                let mut stored = load(&mut tx, stream_id, destination_id).await?;
                let progress = self.database.local_state::<RelayProgress>();
                progress.add_to_all(&mut stored);
                let is_new = stored.is_none();
                let mut relay = stored.unwrap_or_else(|| Relay::new(&stream, destination_id, now));
                let drains = relay.state == RelayState::Draining;
                let is_changed = change(&mut relay, now);
                let stops_draining = drains && !relay.wanted;
                if !is_live(&stream) && !stops_draining {
                    return Err(Error::StreamNotLive);
                }
                match is_new {
                    true if relay.wanted => insert(&mut tx, &relay).await?,
                    false if is_changed => store(&mut tx, &relay).await?,
                    _ => {
                        let Some(key) = idempotency else {
                            return tx.rollback(relay).await;
                        };
                        return_revision(&mut tx, project_id).await?;
                        key.record(&mut tx, stream_id.uuid(), now).await?;
                        return tx.commit(relay).await;
                    }
                }
                record_with_revision(&mut tx, revision, &relay, now).await?;
                if let Some(key) = idempotency {
                    key.record(&mut tx, stream_id.uuid(), now).await?;
                }
                audit_log::record(&mut tx, audit, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(relay)
            })
            .await
    }
}

/// A stream of a locked project. `NotFound` if the project does not have the destination.
async fn load_stream(
    tx: &mut Transaction,
    stream_id: StreamId,
    destination_id: DestinationId,
) -> Result<Stream> {
    let stream = stream_rows::load(tx, stream_id).await?;
    let has_destination = exists!(
        tx,
        "select id from destinations where id = $1 and project_id = $2 and delete_time is null",
        [destination_id, stream.project_id]
    )?;
    if !has_destination {
        return Err(Error::not_found("destination", destination_id));
    }
    Ok(stream)
}

/// Whether relays of a stream can be started and stopped.
fn is_live(stream: &Stream) -> bool {
    let is_on = matches!(stream.state, StreamState::Live | StreamState::Reconnecting);
    is_on && stream.live_time.is_some()
}
