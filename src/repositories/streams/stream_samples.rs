use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    database::{Batch, Database, DeletedBatch, Engine},
    domain::{CreateTimeRange, Page, StreamId, StreamSample, StreamStats, Tenant, Time},
    error::Result,
    repositories::sql::owned_by,
};

/// Samples of the statistics of streams.
#[derive(Debug, Clone)]
pub struct StreamSamples {
    database: Database,
}

impl StreamSamples {
    /// Samples in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Adds a sample of each live stream that has statistics, with one statement. Of replicas
    /// that do so for the same time, the first one counts.
    pub async fn add(&self, sample_time: Time) -> Result<()> {
        execute!(
            self.database.writer(),
            "insert into stream_samples
                 (stream_id, sample_time, bytes_received, bitrate_bps, width, height, fps,
                  video_codec, audio_codec, media)
             select s.id, $1, s.bytes_received, s.bitrate_bps, s.width, s.height, s.fps,
                    s.video_codec, s.audio_codec, s.media
             from streams s
             where s.end_time is null and s.status = 'live' and s.bytes_received is not null
               and not exists (select 1 from stream_samples t where t.sample_time = $1)
             on conflict (stream_id, sample_time) do nothing",
            [sample_time]
        )
    }

    /// The samples of a stream, newest first. The ids of the page are those of the samples.
    pub async fn list(
        &self,
        tenant: Tenant,
        id: StreamId,
        sampled: CreateTimeRange,
        page: Page,
    ) -> Result<Vec<StreamSample>> {
        let before = sampled
            .before
            .min(time_of(page.below).unwrap_or(sampled.before));
        fetch_all!(
            self.database.reader(),
            concat!(
                "select t.sample_time, t.bytes_received, t.bitrate_bps, t.width, t.height, t.fps,
                        t.video_codec, t.audio_codec, t.media
                 from stream_samples t
                 join streams s on s.id = t.stream_id
                 join projects p on p.id = s.project_id
                 where t.stream_id = $1 and t.sample_time > $2 and t.sample_time < $3 and ",
                owned_by!("$4", "$5", "$7"),
                " order by t.sample_time desc
                 limit $6",
            ),
            [
                id,
                sampled.after,
                before,
                tenant.user,
                tenant.key,
                page.limit(),
                tenant.roles()
            ]
        )
    }

    /// Deletes a batch of samples from before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        let sql = match self.database.writer() {
            // Replicas that purge concurrently do not wait for each other.
            Engine::Postgres(_) => {
                "delete from stream_samples
                 where ctid = any(array(
                     select ctid
                     from stream_samples
                     where sample_time < $1
                     order by sample_time
                     limit $2 offset $3
                     for update skip locked))"
            }
            Engine::Sqlite(_) => {
                "delete from stream_samples
                 where rowid in (
                     select rowid
                     from stream_samples
                     where sample_time < $1
                     order by sample_time
                     limit $2 offset $3)"
            }
        };
        self.database.delete_batch(sql, before, batch).await
    }
}

/// The time of a sample whose id this is; `None` for the greatest UUID.
fn time_of(id: Uuid) -> Option<Time> {
    let micros = i64::try_from(id.as_u128()).ok()?;
    Time::UNIX_EPOCH.checked_add_signed(TimeDelta::microseconds(micros))
}

impl_from_row!(
    StreamSample:
    sample_time;
    |row|
    stats: <StreamStats as sqlx::FromRow<_>>::from_row(row)?,
);
