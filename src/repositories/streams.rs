use std::time::Duration;

use sqlx::FromRow;

use super::{
    Database,
    columns::{Timestamp, known},
    projects, publishing,
};
use crate::{
    domain::{
        EndReason, IngestProtocol, Page, ProjectId, Publisher, Stats, Status, Stream, StreamId,
        Tenant, Time,
    },
    error::{Error, Result},
};

/// Streams, as their owners see them.
#[derive(Debug, Clone)]
pub struct Streams {
    database: Database,
}

/// A row of the table `streams`.
#[derive(FromRow)]
pub(super) struct StreamRow {
    id: StreamId,
    project_id: ProjectId,
    status: String,
    epoch: i64,
    node_id: String,
    boot_id: String,
    connection_id: String,
    peer_address: String,
    protocol: String,
    connected: bool,
    create_time: Timestamp,
    live_time: Option<Timestamp>,
    last_seen_time: Timestamp,
    deadline: Option<Timestamp>,
    end_time: Option<Timestamp>,
    end_reason: Option<String>,
    bytes_received: Option<i64>,
    bitrate_bps: Option<i64>,
    width: Option<i32>,
    height: Option<i32>,
    fps: Option<f64>,
    video_codec: Option<String>,
    audio_codec: Option<String>,
}

impl Streams {
    /// Streams in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// A stream.
    pub async fn get(&self, tenant: Tenant, id: StreamId) -> Result<Stream> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, StreamRow>(
            "select s.id, s.project_id, s.status, s.epoch, s.node_id, s.boot_id, s.connection_id,
                    s.peer_address, s.protocol, s.connected, s.create_time, s.live_time,
                    s.last_seen_time, s.deadline, s.end_time, s.end_reason, s.bytes_received,
                    s.bitrate_bps, s.width, s.height, s.fps, s.video_codec, s.audio_codec
             from streams s
             join projects p on p.id = s.project_id
             where s.id = $1 and p.owner_id = $2 and p.delete_time is null
               and ($3 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $3 and k.project_id = p.id))",
        )
        .bind(id)
        .bind(tenant.user)
        .bind(tenant.restricted_to)
        .fetch_optional(pool)
        .await)?
        .ok_or_else(|| not_found(id))?
        .try_into()
    }

    /// A project's streams, newest first, with one status or any.
    pub async fn list(
        &self,
        tenant: Tenant,
        project_id: ProjectId,
        status: Option<Status>,
        page: Page,
    ) -> Result<Vec<Stream>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, StreamRow>(
            "select s.id, s.project_id, s.status, s.epoch, s.node_id, s.boot_id, s.connection_id,
                    s.peer_address, s.protocol, s.connected, s.create_time, s.live_time,
                    s.last_seen_time, s.deadline, s.end_time, s.end_reason, s.bytes_received,
                    s.bitrate_bps, s.width, s.height, s.fps, s.video_codec, s.audio_codec
             from streams s
             join projects p on p.id = s.project_id
             where s.project_id = $1 and s.id < $2 and ($3 is null or s.status = $3)
               and p.owner_id = $4 and p.delete_time is null
               and ($5 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $5 and k.project_id = p.id))
             order by s.id desc
             limit $6",
        )
        .bind(project_id)
        .bind(page.below)
        .bind(status.map(Status::as_str))
        .bind(tenant.user)
        .bind(tenant.restricted_to)
        .bind(page.limit())
        .fetch_all(pool)
        .await)?
        .into_iter()
        .map(Stream::try_from)
        .collect()
    }

    /// Ends a stream, and refuses publishers for a while if `hold` is not zero.
    /// A stream that has ended stays as it is.
    pub async fn stop(
        &self,
        tenant: Tenant,
        id: StreamId,
        hold: Duration,
        now: Time,
    ) -> Result<Stream> {
        let project_id = self.get(tenant, id).await?.project_id;

        let mut tx = self.database.begin().await?;
        projects::lock_owned(&mut tx, tenant, project_id).await?;
        let mut stream = publishing::load(&mut tx, id)
            .await?
            .ok_or_else(|| not_found(id))?;
        if stream.status == Status::Ended && hold.is_zero() {
            return Ok(stream);
        }

        if stream.status != Status::Ended {
            stream.end(EndReason::StoppedByOwner, now);
            publishing::store(&mut tx, &stream).await?;
        }
        if !hold.is_zero() {
            on_engine!(&mut tx, tx => {
                sqlx::query("update projects set publish_held_until = $2 where id = $1")
                    .bind(project_id)
                    .bind(now + hold)
                    .execute(&mut **tx)
                    .await
                    .map(drop)
            })?;
        }
        tx.commit().await?;
        Ok(stream)
    }
}

impl TryFrom<StreamRow> for Stream {
    type Error = Error;

    fn try_from(row: StreamRow) -> Result<Self> {
        let StreamRow {
            id,
            project_id,
            status,
            epoch,
            node_id,
            boot_id,
            connection_id,
            peer_address,
            protocol,
            connected,
            create_time,
            live_time,
            last_seen_time,
            deadline,
            end_time,
            end_reason,
            bytes_received,
            bitrate_bps,
            width,
            height,
            fps,
            video_codec,
            audio_codec,
        } = row;

        let protocol = known("protocol", IngestProtocol::parse(&protocol))?;
        let end_reason = end_reason
            .map(|reason| known("end_reason", EndReason::parse(&reason)))
            .transpose()?;
        let stats = bytes_received.map(|bytes_received| Stats {
            bytes_received,
            bitrate_bps: bitrate_bps.unwrap_or_default(),
            width: width.unwrap_or_default(),
            height: height.unwrap_or_default(),
            fps: fps.unwrap_or_default(),
            video_codec: video_codec.unwrap_or_default(),
            audio_codec: audio_codec.unwrap_or_default(),
        });
        Ok(Self {
            id,
            project_id,
            status: known("status", Status::parse(&status))?,
            epoch,
            publisher: Publisher {
                node_id,
                boot_id,
                connection_id,
                peer_address,
                protocol,
            },
            connected,
            create_time,
            live_time,
            last_seen_time,
            deadline,
            end_time,
            end_reason,
            stats,
        })
    }
}

pub(super) fn not_found(id: StreamId) -> Error {
    Error::NotFound {
        noun: "stream",
        id: id.to_string(),
    }
}
