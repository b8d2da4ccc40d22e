use super::rows::{insert, load, record_with_revision, relay_columns, store};
use crate::{
    database::{Database, Transaction},
    domain::{AuditContext, DestinationId, Relay, Stream, StreamId, StreamState, Tenant, Time},
    error::{Error, Result},
    repositories::{
        Streams, audit_log, projects::rows::lock_owned, sql::owned_by, streams::rows as stream_rows,
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

    /// The relays of a stream, in the order in which their destinations were created.
    pub async fn list(&self, tenant: Tenant, id: StreamId) -> Result<Vec<Relay>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                relay_columns!("r."),
                " from relays r
                 join projects p on p.id = r.project_id
                 join destinations d on d.id = r.destination_id and d.delete_time is null
                 where r.stream_id = $1 and ",
                owned_by!("$2", "$3"),
                " order by r.destination_id",
            ),
            [id, tenant.user, tenant.restricted_to]
        )
    }

    /// Starts or stops the relay of a live stream to a destination of its project. One that has
    /// never been started is stored when it starts.
    pub async fn change(
        &self,
        tenant: Tenant,
        (stream_id, destination_id): (StreamId, DestinationId),
        change: fn(&mut Relay, Time) -> bool,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Relay> {
        let streams = Streams::new(self.database.clone());
        let project_id = streams.get(tenant, stream_id).await?.project_id;

        self.database
            .transaction(|mut tx| async move {
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                let stream = load_live_stream(&mut tx, stream_id, destination_id).await?;
                let stored = load(&mut tx, stream_id, destination_id).await?;
                let is_new = stored.is_none();
                let mut relay = stored.unwrap_or_else(|| Relay::new(&stream, destination_id, now));
                let is_changed = change(&mut relay, now);
                match is_new {
                    true if relay.wanted => insert(&mut tx, &relay).await?,
                    false if is_changed => store(&mut tx, &relay).await?,
                    _ => return tx.rollback(relay).await,
                }
                record_with_revision(&mut tx, revision, &relay, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(relay)
            })
            .await
    }
}

/// A live or reconnecting stream of a locked project. `NotFound` if the project does not
/// have the destination; `StreamNotLive` if the stream is not live.
async fn load_live_stream(
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
    match stream.state {
        StreamState::Live | StreamState::Reconnecting if stream.live_time.is_some() => Ok(stream),
        _ => Err(Error::StreamNotLive),
    }
}
