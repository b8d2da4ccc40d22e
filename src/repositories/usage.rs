//! Usage: records of hours, and the meters of streams and relays.
//!
//! Heartbeats and reports write only their own rows. A job reads what they have written and adds
//! what has come since its last reading, in the transaction that also moves the meters on.

use std::collections::HashMap;

use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::sql::{fetch_all_in, is_member, owned_in};
use crate::{
    database::{Batch, Check, Database, DeletedBatch, Transaction},
    domain::{
        DestinationId, MeteredRelay, MeteredStream, OrganizationId, Page, ProjectId, StreamId,
        StreamMeter, Tenant, Time, Usage, UsageFilter, UsageReading, UsageRecord, UsageRecordId,
    },
    error::{Error, Result},
};

/// The usage of tenants.
#[derive(Debug, Clone)]
pub struct UsageRecords {
    database: Database,
}

#[derive(FromRow)]
struct StreamRow {
    id: StreamId,
    project_id: ProjectId,
    owner_id: OrganizationId,
    live_time: Option<Time>,
    end_time: Option<Time>,
    epoch: i64,
    bytes_received: i64,
    until_time: Option<Time>,
    meter_epoch: Option<i64>,
    meter_bytes: Option<i64>,
}

#[derive(FromRow)]
struct RelayRow {
    stream_id: StreamId,
    destination_id: DestinationId,
    bytes_delivered: i64,
    recorded: i64,
    has_lease: bool,
}

/// The condition that a tenant may read the record `u`: it is one of the organization that
/// `$organization` binds, of which the user is a member. Unless it is null, the API key is one of the
/// organization, and not restricted to other projects.
macro_rules! usage_owned_in {
    ($organization:literal, $user:literal, $key:literal, $roles:literal) => {
        concat!(
            "u.owner_id = ",
            $organization,
            " and ",
            is_member!($organization, $user, $roles),
            " and (",
            $key,
            " is null or exists (
                select 1 from api_keys k
                where k.id = ",
            $key,
            " and coalesce(k.organization_id, k.user_id) = ",
            $organization,
            " and (not k.restricted or exists (
                    select 1 from api_key_projects r
                    where r.api_key_id = k.id and r.project_id = u.project_id))))"
        )
    };
}

/// The condition of a filter: a project, a destination, and hours from one on and before another.
/// The project and the destination are null if they do not matter.
macro_rules! filtered_by {
    ($project:literal, $destination:literal, $start:literal, $end:literal) => {
        concat!(
            "(",
            $project,
            " is null or u.project_id = ",
            $project,
            ") and (",
            $destination,
            " is null or u.destination_id = ",
            $destination,
            ") and u.hour_time >= ",
            $start,
            " and u.hour_time < ",
            $end
        )
    };
}

impl UsageRecords {
    /// Usage in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The records of a tenant, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        filter: UsageFilter,
        page: Page,
    ) -> Result<Vec<UsageRecord>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select u.id, u.project_id, u.destination_id, u.hour_time, u.stream_us,
                        u.bytes_received, u.bytes_delivered
                 from usage_records u
                 where u.id < $1 and ",
                usage_owned_in!("$2", "$3", "$4", "$5"),
                " and ",
                filtered_by!("$7", "$8", "$9", "$10"),
                " order by u.id desc
                 limit $6",
            ),
            [
                page.below,
                tenant.organization,
                tenant.user,
                tenant.key,
                tenant.roles(),
                page.limit(),
                filter.project_id,
                filter.destination_id,
                filter.start_time,
                filter.end_time
            ]
        )
    }

    /// The sum of a tenant's records.
    pub async fn total(&self, tenant: Tenant, filter: UsageFilter) -> Result<Usage> {
        fetch_one!(
            self.database.reader(),
            concat!(
                "select cast(coalesce(sum(u.stream_us), 0) as bigint) as stream_us,
                        cast(coalesce(sum(u.bytes_received), 0) as bigint) as bytes_received,
                        cast(coalesce(sum(u.bytes_delivered), 0) as bigint) as bytes_delivered
                 from usage_records u
                 where ",
                usage_owned_in!("$1", "$2", "$3", "$4"),
                " and ",
                filtered_by!("$5", "$6", "$7", "$8"),
            ),
            [
                tenant.organization,
                tenant.user,
                tenant.key,
                tenant.roles(),
                filter.project_id,
                filter.destination_id,
                filter.start_time,
                filter.end_time
            ]
        )
    }

    /// Fails unless the project and the destination of a filter are those of the tenant's
    /// organization, for a filter that selects no record: those of deleted ones remain.
    pub async fn require_known(&self, tenant: Tenant, filter: UsageFilter) -> Result<()> {
        if let Some(id) = filter.project_id {
            let exists = exists!(
                self.database.reader(),
                concat!(
                    "select 1 from projects p where p.id = $1 and ",
                    owned_in!("$5", "$2", "$3", "$4"),
                ),
                [
                    id,
                    tenant.user,
                    tenant.key,
                    tenant.roles(),
                    tenant.organization
                ]
            )?;
            if !exists {
                return Err(Error::not_found("project", id));
            }
        }
        if let Some(id) = filter.destination_id {
            let exists = exists!(
                self.database.reader(),
                concat!(
                    "select 1
                     from destinations d
                     join projects p on p.id = d.project_id
                     where d.id = $1 and d.delete_time is null and ",
                    owned_in!("$5", "$2", "$3", "$4"),
                ),
                [
                    id,
                    tenant.user,
                    tenant.key,
                    tenant.roles(),
                    tenant.organization
                ]
            )?;
            if !exists {
                return Err(Error::not_found("destination", id));
            }
        }
        Ok(())
    }

    /// Records the usage of a page of streams after an id, in one transaction. Returns the last id
    /// of the page; `None` after the last page, or if another replica records at this moment.
    pub async fn record(&self, after: Uuid, limit: i64, now: Time) -> Result<Option<Uuid>> {
        self.database
            .transaction(|mut tx| async move {
                if !is_alone(&mut tx).await? {
                    return tx.rollback(None).await;
                }
                let streams = unrecorded(&mut tx, after, limit).await?;
                let Some(last) = streams.last().map(|stream| stream.stream_id.uuid()) else {
                    return tx.rollback(None).await;
                };
                let reading = UsageReading::of(&streams, now);
                write(&mut tx, &reading).await?;
                tx.commit(Some(last)).await
            })
            .await
    }

    /// Deletes a batch of records of hours before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from usage_records
             where id in (
                 select id
                 from usage_records
                 where hour_time < $1
                 order by hour_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

/// Whether no other replica records until the transaction ends.
async fn is_alone(tx: &mut Transaction) -> Result<bool> {
    let Transaction::Postgres(tx) = tx else {
        return Ok(true);
    };
    let lock = "select pg_try_advisory_xact_lock(hashtextextended('usage', 0))";
    Ok(sqlx::query_scalar(lock).fetch_one(&mut **tx).await?)
}

/// Streams whose usage is not completely recorded, in the order of their ids.
async fn unrecorded(tx: &mut Transaction, after: Uuid, limit: i64) -> Result<Vec<MeteredStream>> {
    let streams: Vec<StreamRow> = fetch_all!(
        tx,
        "select s.id, s.project_id, p.owner_id, s.live_time, s.end_time, s.epoch,
                coalesce(s.bytes_received, 0) as bytes_received, m.until_time,
                m.epoch as meter_epoch, m.bytes as meter_bytes
         from streams s
         join projects p on p.id = s.project_id
         left join usage_meters m on m.stream_id = s.id and m.destination_id = $3
         where not s.metered and s.id > $1
         order by s.id
         limit $2",
        [after, limit, Uuid::nil()]
    )?;
    let ids: Vec<_> = streams.iter().map(|stream| stream.id).collect();
    let relays: Vec<RelayRow> = fetch_all_in!(
        tx,
        ["select r.stream_id, r.destination_id, r.bytes_delivered,
                    coalesce(m.bytes, 0) as recorded, r.lease_id is not null as has_lease
             from relays r
             left join usage_meters m
                 on m.stream_id = r.stream_id and m.destination_id = r.destination_id
             where r.stream_id"],
        &ids,
        [],
        []
    )?;
    let mut of_stream: HashMap<StreamId, Vec<_>> = HashMap::new();
    for row in relays {
        let relays = of_stream.entry(row.stream_id).or_default();
        relays.push(MeteredRelay {
            destination_id: row.destination_id,
            bytes_delivered: row.bytes_delivered,
            recorded: row.recorded,
            has_lease: row.has_lease,
        });
    }
    let streams = streams.into_iter().map(|row| {
        let meter = row.meter_epoch.zip(row.meter_bytes);
        MeteredStream {
            relays: of_stream.remove(&row.id).unwrap_or_default(),
            stream_id: row.id,
            project_id: row.project_id,
            owner_id: row.owner_id,
            live_time: row.live_time,
            end_time: row.end_time,
            epoch: row.epoch,
            bytes_received: row.bytes_received,
            meter: meter.map(|(epoch, bytes)| StreamMeter {
                until_time: row.until_time,
                epoch,
                bytes,
            }),
        }
    });
    Ok(streams.collect())
}

async fn write(tx: &mut Transaction, reading: &UsageReading) -> Result<()> {
    for (key, usage) in &reading.added {
        queue!(
            tx,
            "insert into usage_records as u
                 (id, owner_id, project_id, destination_id, hour_time, stream_us, bytes_received,
                  bytes_delivered)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (owner_id, hour_time, project_id, destination_id) do update
             set stream_us = u.stream_us + excluded.stream_us,
                 bytes_received = u.bytes_received + excluded.bytes_received,
                 bytes_delivered = u.bytes_delivered + excluded.bytes_delivered",
            [
                UsageRecordId::generate(),
                key.owner_id,
                key.project_id,
                key.destination_id,
                key.hour_time,
                usage.stream_us,
                usage.bytes_received,
                usage.bytes_delivered
            ],
            Check::default()
        )?;
    }
    for (stream_id, meter) in &reading.streams {
        let StreamMeter {
            until_time,
            epoch,
            bytes,
        } = meter;
        set_meter(tx, *stream_id, Uuid::nil(), *until_time, *epoch, *bytes).await?;
    }
    for (stream_id, destination_id, bytes) in &reading.relays {
        set_meter(tx, *stream_id, destination_id.uuid(), None, 0, *bytes).await?;
    }
    for stream_id in &reading.finished {
        queue!(
            tx,
            "update streams set metered = true where id = $1",
            [*stream_id],
            Check::default()
        )?;
        queue!(
            tx,
            "delete from usage_meters where stream_id = $1",
            [*stream_id],
            Check::default()
        )?;
    }
    Ok(())
}

async fn set_meter(
    tx: &mut Transaction,
    stream_id: StreamId,
    destination_id: Uuid,
    until_time: Option<Time>,
    epoch: i64,
    bytes: i64,
) -> Result<()> {
    queue!(
        tx,
        "insert into usage_meters (stream_id, destination_id, until_time, epoch, bytes)
         values ($1, $2, $3, $4, $5)
         on conflict (stream_id, destination_id) do update
         set until_time = excluded.until_time, epoch = excluded.epoch, bytes = excluded.bytes",
        [stream_id, destination_id, until_time, epoch, bytes],
        Check::default()
    )
}

impl_from_row!(
    UsageRecord:
    id, project_id, hour_time;
    |row|
    destination_id: Some(row.try_get::<Uuid, _>("destination_id")?)
        .filter(|id| !id.is_nil())
        .map(DestinationId::from),
    usage: <Usage as FromRow<_>>::from_row(row)?,
);

impl_from_row!(Usage: stream_us, bytes_received, bytes_delivered);
