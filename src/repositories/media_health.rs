//! The issues of live streams and their relays, and samples of statistics.
//!
//! Heartbeats and reports only write measurements. A job reads those of all live streams and
//! writes what follows from them, so that issues and samples cost nothing where media servers
//! and workers wait.

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    projects::events,
    relays::{
        progress::RelayProgress,
        rows::{self as relay_rows, relay_columns},
    },
    sql::{fetch_all_in, list_json, to_json},
    streams::rows::{self as stream_rows, lock_project_of, stored_stream_columns},
};
use crate::{
    database::Database,
    domain::{Change, MediaIssue, Platform, Relay, Stream, StreamId, Time, VideoLimits},
    error::{Error, Result},
};

/// Workers that claim are recorded every minute.
const CLAIMS_NOW: TimeDelta = TimeDelta::minutes(2);

/// A live stream, with its relays.
#[derive(Debug, Clone)]
pub struct MonitoredStream {
    /// The stream. It was last seen when it was last written.
    pub stream: Stream,
    /// Its relays.
    pub relays: Vec<MonitoredRelay>,
}

/// A relay, and what its destination is.
#[derive(Debug, Clone)]
pub struct MonitoredRelay {
    /// The relay.
    pub relay: Relay,
    /// Whether no worker has it because one has another relay to its destination.
    pub is_busy: bool,
    /// The platform of the destination.
    pub platform: Platform,
    /// The limits of the video for the destination.
    pub video_limits: VideoLimits,
}

/// The health of media.
#[derive(Debug, Clone)]
pub struct MediaHealth {
    database: Database,
}

#[derive(Debug)]
struct RelayRow {
    relay: Relay,
    is_busy: bool,
    destination_platform: Platform,
    max_video_bitrate_kbps: i32,
    max_height: i32,
}

impl MediaHealth {
    /// The health of media in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Streams that have not ended, of projects after an id, in the order of their projects: each
    /// has at most one.
    pub async fn list(&self, after: Uuid, limit: i64) -> Result<Vec<MonitoredStream>> {
        let streams: Vec<Stream> = fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                stored_stream_columns!("s."),
                " from streams s
                 where s.end_time is null and s.project_id > $1
                 order by s.project_id
                 limit $2"
            ),
            [after, limit]
        )?;
        if streams.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = streams.iter().map(|stream| stream.id).collect();
        let mut of_stream: HashMap<StreamId, Vec<_>> = HashMap::new();
        let progress = self.database.local_state::<RelayProgress>();
        for mut row in self.relays(&ids).await? {
            progress.add_to(&mut row.relay);
            let relays = of_stream.entry(row.relay.stream_id).or_default();
            relays.push(MonitoredRelay {
                relay: row.relay,
                is_busy: row.is_busy,
                platform: row.destination_platform,
                video_limits: VideoLimits {
                    max_bitrate_kbps: row.max_video_bitrate_kbps,
                    max_height: row.max_height,
                },
            });
        }
        let streams = streams.into_iter().map(|stream| MonitoredStream {
            relays: of_stream.remove(&stream.id).unwrap_or_default(),
            stream,
        });
        Ok(streams.collect())
    }

    async fn relays(&self, ids: &[StreamId]) -> Result<Vec<RelayRow>> {
        fetch_all_in!(
            self.database.reader(),
            [
                "select ",
                relay_columns!("r."),
                ", d.platform as destination_platform, d.max_video_bitrate_kbps, d.max_height,
                   r.lease_id is null and exists (
                       select 1
                       from relays b
                       where b.destination_id = r.destination_id and b.lease_id is not null)
                       as is_busy
                 from relays r
                 join destinations d on d.id = r.destination_id
                 where r.stream_id"
            ],
            ids,
            [],
            []
        )
    }

    /// Writes the issues of a stream, with an event, unless it has changed since it was read.
    pub async fn set_stream_issues(
        &self,
        read: &Stream,
        issues: Vec<MediaIssue>,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| {
                let issues = issues.clone();
                async move {
                    let (project_id, revision) = match lock_project_of(&mut tx, read.id).await {
                        Err(Error::NotFound { .. }) => return tx.rollback(()).await,
                        locked => locked?,
                    };
                    let mut stream = stream_rows::load(&mut tx, read.id).await?;
                    let is_same = stream.state == read.state
                        && stream.epoch == read.epoch
                        && stream.issues == read.issues;
                    if !is_same {
                        return tx.rollback(()).await;
                    }
                    stream.issues = issues;
                    execute!(
                        tx,
                        "update streams set issues = $2 where id = $1",
                        [read.id, list_json(&stream.issues)?]
                    )?;
                    let change = Change::Stream(stream);
                    events::record(&mut tx, project_id, revision, &change, now).await?;
                    self.database.commit_change(tx, project_id).await
                }
            })
            .await
    }

    /// The number of workers that claim relays now or did in the last two minutes, by the media
    /// server for which they do; empty means any.
    pub async fn count_workers(&self, now: Time) -> Result<HashMap<String, i64>> {
        let counts: Vec<(String, i64)> = fetch_all!(
            self.database.reader(),
            "select node_id, count(*)
             from workers
             where last_claim_time > $1
             group by node_id",
            [now - CLAIMS_NOW]
        )?;
        Ok(counts.into_iter().collect())
    }

    /// Writes the issues of a relay, with an event, unless it has changed since it was read.
    /// `capacity_issue` is the one that no worker takes it.
    pub async fn set_relay_issues(
        &self,
        read: &Relay,
        issues: Vec<MediaIssue>,
        capacity_issue: Option<MediaIssue>,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| {
                let (issues, capacity_issue) = (issues.clone(), capacity_issue.clone());
                async move {
                    let locked = lock_project_of(&mut tx, read.stream_id).await;
                    let (project_id, revision) = match locked {
                        Err(Error::NotFound { .. }) => return tx.rollback(()).await,
                        locked => locked?,
                    };
                    let (stream_id, destination_id) = (read.stream_id, read.destination_id);
                    let loaded = relay_rows::load(&mut tx, stream_id, destination_id).await?;
                    let lease = |relay: &Relay| relay.lease.as_ref().map(|lease| lease.id);
                    let is_same = |relay: &Relay| {
                        relay.wanted == read.wanted
                            && relay.issues == read.issues
                            && relay.capacity_issue == read.capacity_issue
                            && lease(relay) == lease(read)
                    };
                    let Some(mut relay) = loaded.filter(is_same) else {
                        return tx.rollback(()).await;
                    };
                    relay.issues = issues;
                    relay.capacity_issue = capacity_issue;
                    execute!(
                        tx,
                        "update relays
                         set issues = $3, capacity_issue = $4
                         where stream_id = $1 and destination_id = $2",
                        [
                            stream_id,
                            destination_id,
                            list_json(&relay.issues)?,
                            relay.capacity_issue.as_ref().map(to_json).transpose()?
                        ]
                    )?;
                    relay_rows::record_with_revision(&mut tx, revision, &relay, now).await?;
                    self.database.commit_change(tx, project_id).await
                }
            })
            .await
    }
}

impl_from_row!(
    RelayRow:
    is_busy, destination_platform, max_video_bitrate_kbps, max_height;
    |row|
    relay: Relay::from_row(row)?,
);
