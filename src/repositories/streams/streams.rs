use std::time::Duration;

use super::rows::{StreamRow, load, record, store};
use crate::{
    database::{Database, Transaction},
    domain::{Act, EndReason, Page, ProjectId, Status, Stream, StreamId, Tenant, Time},
    error::{Error, Result},
    repositories::{
        audit_log,
        projects::{revisions::lock_owned, rows as project_rows},
    },
};

/// Streams, as their owners see them.
#[derive(Debug, Clone)]
pub struct Streams {
    database: Database,
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
                    s.last_seen_time, s.deadline, s.key_expire_time, s.end_time, s.end_reason,
                    s.bytes_received, s.bitrate_bps, s.width, s.height, s.fps, s.video_codec,
                    s.audio_codec
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
        .ok_or_else(|| Error::not_found("stream", id))?
        .try_into()
    }

    /// A project's streams, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        project_id: ProjectId,
        page: Page,
    ) -> Result<Vec<Stream>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, StreamRow>(
            "select s.id, s.project_id, s.status, s.epoch, s.node_id, s.boot_id, s.connection_id,
                    s.peer_address, s.protocol, s.connected, s.create_time, s.live_time,
                    s.last_seen_time, s.deadline, s.key_expire_time, s.end_time, s.end_reason,
                    s.bytes_received, s.bitrate_bps, s.width, s.height, s.fps, s.video_codec,
                    s.audio_codec
             from streams s
             join projects p on p.id = s.project_id
             where s.project_id = $1 and s.id < $2
               and p.owner_id = $3 and p.delete_time is null
               and ($4 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $4 and k.project_id = p.id))
             order by s.id desc
             limit $5",
        )
        .bind(project_id)
        .bind(page.below)
        .bind(tenant.user)
        .bind(tenant.restricted_to)
        .bind(page.limit())
        .fetch_all(pool)
        .await)?
        .into_iter()
        .map(Stream::try_from)
        .collect()
    }

    /// A project's streams that have a status, newest first. A statement of its
    /// own, so that the index on the status serves it on both engines.
    pub async fn list_by_status(
        &self,
        tenant: Tenant,
        project_id: ProjectId,
        status: Status,
        page: Page,
    ) -> Result<Vec<Stream>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, StreamRow>(
            "select s.id, s.project_id, s.status, s.epoch, s.node_id, s.boot_id, s.connection_id,
                    s.peer_address, s.protocol, s.connected, s.create_time, s.live_time,
                    s.last_seen_time, s.deadline, s.key_expire_time, s.end_time, s.end_reason,
                    s.bytes_received, s.bitrate_bps, s.width, s.height, s.fps, s.video_codec,
                    s.audio_codec
             from streams s
             join projects p on p.id = s.project_id
             where s.project_id = $1 and s.id < $2 and s.status = $6
               and p.owner_id = $3 and p.delete_time is null
               and ($4 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $4 and k.project_id = p.id))
             order by s.id desc
             limit $5",
        )
        .bind(project_id)
        .bind(page.below)
        .bind(tenant.user)
        .bind(tenant.restricted_to)
        .bind(page.limit())
        .bind(status.as_str())
        .fetch_all(pool)
        .await)?
        .into_iter()
        .map(Stream::try_from)
        .collect()
    }

    /// Ends a stream, and refuses publishers for a while; a `hold` of zero lifts
    /// an earlier one. A stream that has ended stays as it is.
    pub async fn stop(
        &self,
        tenant: Tenant,
        id: StreamId,
        hold: Duration,
        act: &Act,
        now: Time,
    ) -> Result<Stream> {
        let project_id = self.get(tenant, id).await?.project_id;
        let held_until = (!hold.is_zero()).then(|| now + hold);

        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                let before = load(&mut tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("stream", id))?;
                let ended = before.status == Status::Ended;
                if ended && hold_of(&mut tx, project_id).await? == held_until {
                    tx.rollback().await?;
                    return Ok(before);
                }

                let mut stream = before.clone();
                if !ended {
                    stream.end(EndReason::StoppedByOwner, now);
                    store(&mut tx, &stream).await?;
                    record(&mut tx, revision, Some(&before), &stream, now).await?;
                }
                on_engine!(&mut tx, tx => {
                    sqlx::query("update projects set publish_held_until = $2 where id = $1")
                        .bind(project_id)
                        .bind(held_until)
                        .execute(&mut **tx)
                        .await
                        .map(drop)
                })?;
                if ended {
                    let project = project_rows::load(&mut tx, project_id).await?;
                    project_rows::record(&mut tx, &project, now).await?;
                }
                audit_log::record(&mut tx, act, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(stream)
            })
            .await
    }
}

/// Until when a project refuses publishers, if it does.
async fn hold_of(tx: &mut Transaction, id: ProjectId) -> Result<Option<Time>> {
    Ok(on_engine!(tx, tx => {
        sqlx::query_scalar::<_, Option<Time>>(
            "select publish_held_until from projects where id = $1",
        )
        .bind(id)
        .fetch_one(&mut **tx)
        .await
    })?)
}
