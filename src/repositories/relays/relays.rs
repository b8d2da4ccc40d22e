use super::rows::{RelayRow, insert, load, record_as, store};
use crate::{
    database::{Database, Transaction},
    domain::{Act, DestinationId, ProjectId, Relay, Status, Stream, StreamId, Tenant, Time},
    error::{Error, Result},
    repositories::{
        Streams, audit_log, projects::revisions::lock_owned, streams::rows as stream_rows,
    },
};

/// Relays, as their owners see them.
#[derive(Debug, Clone)]
pub struct Relays {
    database: Database,
    streams: Streams,
}

impl Relays {
    /// Relays in this database.
    pub fn new(database: Database) -> Self {
        Self {
            streams: Streams::new(database.clone()),
            database,
        }
    }

    /// The relays of a stream, in the order in which their destinations were made.
    pub async fn list(&self, tenant: Tenant, id: StreamId) -> Result<Vec<Relay>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, RelayRow>(
            "select r.stream_id, r.destination_id, r.project_id, r.wanted, r.state, r.attempt,
                    r.ready_time, r.last_progress_time, r.bytes_sent, r.bitrate_bps,
                    r.error_code, r.error_severity, r.error_message, r.worker_id, r.lease_id,
                    r.lease_expire_time, r.claim_time, r.broadcast_time, r.silent_since,
                    r.update_time
             from relays r
             join projects p on p.id = r.project_id
             where r.stream_id = $1 and p.owner_id = $2 and p.delete_time is null
               and ($3 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $3 and k.project_id = p.id))
             order by r.destination_id",
        )
        .bind(id)
        .bind(tenant.user)
        .bind(tenant.restricted_to)
        .fetch_all(pool)
        .await)?
        .into_iter()
        .map(Relay::try_from)
        .collect()
    }

    /// Lets a live stream be sent to a destination of its project.
    pub async fn start(
        &self,
        tenant: Tenant,
        stream_id: StreamId,
        destination_id: DestinationId,
        act: &Act,
        now: Time,
    ) -> Result<Relay> {
        let project_id = self.streams.get(tenant, stream_id).await?.project_id;

        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                let stream = live(&mut tx, stream_id, destination_id).await?;
                let relay = match load(&mut tx, stream_id, destination_id).await? {
                    None => {
                        let relay = Relay::begin(&stream, destination_id, now);
                        insert(&mut tx, &relay).await?;
                        relay
                    }
                    Some(mut relay) => {
                        if !relay.start(now) {
                            tx.rollback().await?;
                            return Ok(relay);
                        }
                        store(&mut tx, &relay).await?;
                        relay
                    }
                };
                self.finish(tx, revision, relay, act, now).await
            })
            .await
    }

    /// Does not let a live stream be sent to a destination of its project any more.
    pub async fn stop(
        &self,
        tenant: Tenant,
        stream_id: StreamId,
        destination_id: DestinationId,
        act: &Act,
        now: Time,
    ) -> Result<Relay> {
        let project_id = self.streams.get(tenant, stream_id).await?.project_id;

        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                let stream = live(&mut tx, stream_id, destination_id).await?;
                let Some(mut relay) = load(&mut tx, stream_id, destination_id).await? else {
                    // It was never started, so there is nothing to keep.
                    let mut relay = Relay::begin(&stream, destination_id, now);
                    relay.stop(now);
                    tx.rollback().await?;
                    return Ok(relay);
                };
                if !relay.stop(now) {
                    tx.rollback().await?;
                    return Ok(relay);
                }
                store(&mut tx, &relay).await?;
                self.finish(tx, revision, relay, act, now).await
            })
            .await
    }

    async fn finish(
        &self,
        mut tx: Transaction,
        revision: i64,
        relay: Relay,
        act: &Act,
        now: Time,
    ) -> Result<Relay> {
        record_as(&mut tx, revision, &relay, now).await?;
        audit_log::record(&mut tx, act, now).await?;
        self.database.commit_change(tx, relay.project_id).await?;
        Ok(relay)
    }
}

/// A stream of a locked project that has media, or waits for it, and for which
/// there is this destination.
async fn live(
    tx: &mut Transaction,
    stream_id: StreamId,
    destination_id: DestinationId,
) -> Result<Stream> {
    let stream = stream_rows::load(tx, stream_id)
        .await?
        .ok_or_else(|| Error::not_found("stream", stream_id))?;
    if !has_destination(tx, stream.project_id, destination_id).await? {
        return Err(Error::not_found("destination", destination_id));
    }
    match stream.status {
        Status::Live | Status::Reconnecting if stream.live_time.is_some() => Ok(stream),
        _ => Err(Error::StreamNotLive),
    }
}

async fn has_destination(
    tx: &mut Transaction,
    project_id: ProjectId,
    id: DestinationId,
) -> Result<bool> {
    let found = on_engine!(tx, tx => sqlx::query_scalar::<_, DestinationId>(
        "select id from destinations where id = $1 and project_id = $2",
    )
    .bind(id)
    .bind(project_id)
    .fetch_optional(&mut **tx)
    .await)?;
    Ok(found.is_some())
}
