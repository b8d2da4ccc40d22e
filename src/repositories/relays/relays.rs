use super::rows::{insert, load, record_with_revision, relay_columns, store};
use crate::{
    database::{Database, Transaction},
    domain::{
        AuditContext, DestinationId, ProjectId, Relay, Stream, StreamId, StreamStatus, Tenant, Time,
    },
    error::{Error, Result},
    repositories::{
        Streams, audit_log, projects::revisions::lock_owned, sql::owned_by,
        streams::rows as stream_rows,
    },
};

/// Relays, for their owners.
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

    /// The relays of a stream, in the order in which their destinations were created.
    pub async fn list(&self, tenant: Tenant, id: StreamId) -> Result<Vec<Relay>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                relay_columns!("r."),
                " from relays r
                 join projects p on p.id = r.project_id
                 where r.stream_id = $1 and ",
                owned_by!("$2", "$3"),
                " order by r.destination_id",
            ),
            [id, tenant.user, tenant.restricted_to]
        )
    }

    /// Starts the relay of a live stream to a destination of its project.
    pub async fn start(
        &self,
        tenant: Tenant,
        stream_id: StreamId,
        destination_id: DestinationId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Relay> {
        let project_id = self.streams.get(tenant, stream_id).await?.project_id;

        self.database
            .with_retry(|| async {
                let mut tx = self.database.begin().await?;
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                let stream = load_live_stream(&mut tx, stream_id, destination_id).await?;
                let relay = match load(&mut tx, stream_id, destination_id).await? {
                    None => {
                        let relay = Relay::new(&stream, destination_id, now);
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
                self.finish(tx, revision, relay, audit, now).await
            })
            .await
    }

    /// Stops the relay of a live stream to a destination of its project.
    pub async fn stop(
        &self,
        tenant: Tenant,
        stream_id: StreamId,
        destination_id: DestinationId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Relay> {
        let project_id = self.streams.get(tenant, stream_id).await?.project_id;

        self.database
            .with_retry(|| async {
                let mut tx = self.database.begin().await?;
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                let stream = load_live_stream(&mut tx, stream_id, destination_id).await?;
                let Some(mut relay) = load(&mut tx, stream_id, destination_id).await? else {
                    // It was never started, so nothing is stored.
                    let mut relay = Relay::new(&stream, destination_id, now);
                    relay.stop(now);
                    tx.rollback().await?;
                    return Ok(relay);
                };
                if !relay.stop(now) {
                    tx.rollback().await?;
                    return Ok(relay);
                }
                store(&mut tx, &relay).await?;
                self.finish(tx, revision, relay, audit, now).await
            })
            .await
    }

    async fn finish(
        &self,
        mut tx: Transaction,
        revision: i64,
        relay: Relay,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Relay> {
        record_with_revision(&mut tx, revision, &relay, now).await?;
        audit_log::record(&mut tx, audit, now).await?;
        self.database.commit_change(tx, relay.project_id).await?;
        Ok(relay)
    }
}

/// A live or reconnecting stream of a locked project. `NotFound` if the project does not
/// have the destination; `StreamNotLive` if the stream is not live.
async fn load_live_stream(
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
        StreamStatus::Live | StreamStatus::Reconnecting if stream.live_time.is_some() => Ok(stream),
        _ => Err(Error::StreamNotLive),
    }
}

async fn has_destination(
    tx: &mut Transaction,
    project_id: ProjectId,
    id: DestinationId,
) -> Result<bool> {
    let found: Option<DestinationId> = fetch_optional_scalar!(
        tx,
        "select id from destinations where id = $1 and project_id = $2",
        [id, project_id]
    )?;
    Ok(found.is_some())
}
