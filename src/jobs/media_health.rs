use std::time::Duration;

use uuid::Uuid;

use super::retries::{Attempt, Retries};
use crate::{
    database::Database,
    domain::{MediaIssue, MediaIssueCode, Relay, Stream, StreamId, StreamSample, Time, now},
    error::{Error, Result},
    repositories::{MediaHealth, MonitoredRelay, MonitoredStream, StreamSamples},
    telemetry::metrics::{JobTimer, SERVER},
};

/// How often the measurements of live streams are compared with limits: two reads for a page
/// of streams.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The number of streams that are read at once.
const PAGE_SIZE: i64 = 500;

/// Raises and clears the issues of live streams and their relays, and samples their statistics;
/// never returns. Only the leader of the job does.
pub async fn monitor_media(database: Database) {
    let (health, samples) = (
        MediaHealth::new(database.clone()),
        StreamSamples::new(database.clone()),
    );
    let mut timer = JobTimer::new("media_health", CHECK_INTERVAL);
    let mut retries = Retries::default();
    let mut sampled = None;
    loop {
        let run = timer.next_run().await;
        if !database.leads("media_health") {
            IssueCounts::default().expose();
            run.finish(true);
            continue;
        }
        let checked = check_all(&health, &mut retries).await;
        let added = add_sample(&samples, &mut sampled).await.map(|()| true);
        for error in [&checked, &added]
            .into_iter()
            .filter_map(|one| one.as_ref().err())
        {
            let error = error.with_causes();
            tracing::warn!(error, "cannot check or sample the media of streams");
        }
        run.finish(matches!((checked, added), (Ok(true), Ok(true))));
    }
}

/// Adds the sample of this time, unless this replica has already.
async fn add_sample(samples: &StreamSamples, sampled: &mut Option<Time>) -> Result<()> {
    let sample_time = StreamSample::time_at(now());
    if *sampled != Some(sample_time) {
        samples.add(sample_time).await?;
        *sampled = Some(sample_time);
    }
    Ok(())
}

/// Checks all streams that have not ended; returns whether none failed.
async fn check_all(health: &MediaHealth, retries: &mut Retries<StreamId>) -> Result<bool> {
    let (mut after, mut is_success) = (Uuid::nil(), true);
    let mut counts = IssueCounts::default();
    loop {
        let page = health.list(after, PAGE_SIZE).await?;
        let Some(last) = page.last() else {
            counts.expose();
            return Ok(is_success);
        };
        after = last.stream.project_id.uuid();
        for monitored in &page {
            let stream_id = monitored.stream.id;
            let work = IssueChanges::of(monitored, now(), &mut counts).write(health);
            match retries.attempt(stream_id, work).await? {
                // It has changed meanwhile, and is checked again.
                Attempt::Done(())
                | Attempt::Failed(
                    Error::ConcurrentChange | Error::LostRace(_) | Error::LockTimeout,
                ) => {}
                Attempt::Postponed => is_success = false,
                Attempt::Failed(error) => {
                    let error = error.with_causes();
                    tracing::warn!(%stream_id, error, "cannot write the issues of a stream");
                    is_success = false;
                }
            }
        }
    }
}

/// The issues of a stream and its relays that have changed.
struct IssueChanges<'a> {
    now: Time,
    stream: Option<(&'a Stream, Vec<MediaIssue>)>,
    relays: Vec<(&'a Relay, Vec<MediaIssue>)>,
}

impl<'a> IssueChanges<'a> {
    /// Finds the present issues, and counts them.
    fn of(monitored: &'a MonitoredStream, now: Time, counts: &mut IssueCounts) -> Self {
        let MonitoredStream { stream, relays } = monitored;
        let issues = MediaIssue::of_stream(stream, now);
        counts.add(issues.as_deref().unwrap_or(&stream.issues));
        let mut changes = Self {
            now,
            stream: issues.map(|issues| (stream, issues)),
            relays: Vec::new(),
        };
        for monitored in relays {
            let MonitoredRelay {
                relay,
                platform,
                video_limits,
            } = monitored;
            let issues = MediaIssue::of_relay(relay, stream, platform.info(), *video_limits, now);
            counts.add(issues.as_deref().unwrap_or(&relay.issues));
            changes.relays.extend(issues.map(|issues| (relay, issues)));
        }
        changes
    }

    async fn write(self, health: &MediaHealth) -> Result<()> {
        if let Some((stream, issues)) = self.stream {
            health.set_stream_issues(stream, issues, self.now).await?;
        }
        for (relay, issues) in self.relays {
            health.set_relay_issues(relay, issues, self.now).await?;
        }
        Ok(())
    }
}

/// The number of raised issues of each kind, for the metrics.
#[derive(Debug, Default)]
struct IssueCounts([i64; MediaIssueCode::ALL.len()]);

impl IssueCounts {
    fn add(&mut self, issues: &[MediaIssue]) {
        for issue in issues {
            self.0[issue.code as usize] += 1;
        }
    }

    fn expose(&self) {
        for code in MediaIssueCode::ALL {
            let gauge = SERVER.issues.with_label_values(&[code.as_str()]);
            gauge.set(self.0[code as usize]);
        }
    }
}
