use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use super::retries::{Attempt, Retries};
use crate::{
    database::Database,
    domain::{
        MediaIssue, MediaIssueCode, Relay, RelayWaits, Stream, StreamId, StreamSample, Time, now,
    },
    error::{Error, Result},
    repositories::{MediaHealth, MonitoredRelay, MonitoredStream, StreamSamples, Workers},
    telemetry::metrics::{JobTimer, SERVER},
};

/// How often the measurements of live streams are compared with limits: two reads for a page
/// of streams.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The number of streams that are read at once.
const PAGE_SIZE: i64 = 500;

/// The most relays of which one check writes that no worker takes them. If a whole fleet of workers
/// is gone, the others follow with the next checks.
const MAX_WITHOUT_WORKER: usize = 500;

/// Raises and clears the issues of live streams and their relays, and samples their statistics;
/// never returns. Only the leader of the job does.
pub async fn monitor_media(database: Database, relay_wait_timeout: Duration) {
    let (health, samples) = (
        MediaHealth::new(database.clone()),
        StreamSamples::new(database.clone()),
    );
    let workers = Workers::new(database.clone());
    let mut timer = JobTimer::new("media_health", CHECK_INTERVAL);
    let mut retries = Retries::default();
    let mut waits = RelayWaits::new(relay_wait_timeout);
    let mut sampled = None;
    loop {
        let run = timer.next_run().await;
        if !database.leads("media_health") {
            IssueCounts::default().expose();
            waits.clear();
            run.finish(true);
            continue;
        }
        let checked = check_all(&health, &workers, &mut retries, &mut waits).await;
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
async fn check_all(
    health: &MediaHealth,
    workers: &Workers,
    retries: &mut Retries<StreamId>,
    waits: &mut RelayWaits,
) -> Result<bool> {
    let (mut after, mut is_success) = (Uuid::nil(), true);
    let mut counts = IssueCounts::default();
    let mut without_worker = RelaysWithoutWorker {
        workers,
        counts: None,
        waits,
        written: 0,
    };
    loop {
        let page = health.list(after, PAGE_SIZE).await?;
        let Some(last) = page.last() else {
            without_worker.waits.end_look();
            counts.expose();
            return Ok(is_success);
        };
        after = last.stream.project_id.uuid();
        for monitored in &page {
            let stream_id = monitored.stream.id;
            let issues = without_worker.check(monitored, &mut counts, now()).await?;
            let work = IssueChanges::of(monitored, issues, now(), &mut counts).write(health);
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

/// Finds the relays that no worker takes.
struct RelaysWithoutWorker<'a> {
    workers: &'a Workers,
    waits: &'a mut RelayWaits,
    /// The number of workers by media server, once it was read in this check.
    counts: Option<HashMap<String, i64>>,
    /// The number of new issues of this check.
    written: usize,
}

impl RelaysWithoutWorker<'_> {
    /// The issue of each relay of a stream that no worker takes it, to be written. All are counted.
    async fn check(
        &mut self,
        monitored: &MonitoredStream,
        counts: &mut IssueCounts,
        now: Time,
    ) -> Result<Vec<Option<MediaIssue>>> {
        let mut issues = Vec::with_capacity(monitored.relays.len());
        for MonitoredRelay { relay, is_busy, .. } in &monitored.relays {
            self.waits.observe(relay, &monitored.stream, *is_busy, now);
            let is_issue = self.waits.is_issue(relay, &monitored.stream, now);
            counts.add_to(MediaIssueCode::NoCapacity, is_issue.into());
            let issue = match (is_issue, &relay.capacity_issue) {
                (false, _) => None,
                (true, None) if self.written < MAX_WITHOUT_WORKER => {
                    self.written += 1;
                    let node_id = &monitored.stream.publisher.node_id;
                    Some(MediaIssue::no_capacity(
                        self.workers_of(node_id).await?,
                        now,
                    ))
                }
                (true, noted) => noted.clone(),
            };
            issues.push(issue);
        }
        Ok(issues)
    }

    /// The number of workers that claim relays of a media server.
    async fn workers_of(&mut self, node_id: &str) -> Result<i64> {
        let counts = match self.counts.take() {
            Some(counts) => counts,
            None => self.workers.count_by_node(now()).await?,
        };
        let of = |node_id| counts.get(node_id).copied().unwrap_or_default();
        let count = of(node_id) + of("");
        self.counts = Some(counts);
        Ok(count)
    }
}

/// The issues of a stream and its relays that have changed.
struct IssueChanges<'a> {
    now: Time,
    stream: Option<(&'a Stream, Vec<MediaIssue>)>,
    relays: Vec<RelayIssues<'a>>,
}

/// The issues of a relay, and the one that no worker takes it.
struct RelayIssues<'a> {
    relay: &'a Relay,
    issues: Vec<MediaIssue>,
    capacity_issue: Option<MediaIssue>,
}

impl<'a> IssueChanges<'a> {
    /// Finds the present issues, and counts them. `capacity_issues` has for each relay the one that no
    /// worker takes it.
    fn of(
        monitored: &'a MonitoredStream,
        capacity_issues: Vec<Option<MediaIssue>>,
        now: Time,
        counts: &mut IssueCounts,
    ) -> Self {
        let MonitoredStream { stream, relays } = monitored;
        let issues = MediaIssue::of_stream(stream, now);
        counts.add(issues.as_deref().unwrap_or(&stream.issues));
        let mut changes = Self {
            now,
            stream: issues.map(|issues| (stream, issues)),
            relays: Vec::new(),
        };
        for (monitored, capacity_issue) in relays.iter().zip(capacity_issues) {
            let MonitoredRelay {
                relay,
                is_busy: _,
                platform,
                video_limits,
            } = monitored;
            let issues = MediaIssue::of_relay(relay, stream, platform.info(), *video_limits, now);
            counts.add(issues.as_deref().unwrap_or(&relay.issues));
            if issues.is_some() || capacity_issue != relay.capacity_issue {
                changes.relays.push(RelayIssues {
                    relay,
                    issues: issues.unwrap_or_else(|| relay.issues.clone()),
                    capacity_issue,
                });
            }
        }
        changes
    }

    async fn write(self, health: &MediaHealth) -> Result<()> {
        if let Some((stream, issues)) = self.stream {
            health.set_stream_issues(stream, issues, self.now).await?;
        }
        for RelayIssues {
            relay,
            issues,
            capacity_issue,
        } in self.relays
        {
            health
                .set_relay_issues(relay, issues, capacity_issue, self.now)
                .await?;
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
            self.add_to(issue.code, 1);
        }
    }

    fn add_to(&mut self, code: MediaIssueCode, count: i64) {
        self.0[code as usize] += count;
    }

    fn expose(&self) {
        for code in MediaIssueCode::ALL {
            let gauge = SERVER.issues.with_label_values(&[code.as_str()]);
            gauge.set(self.0[code as usize]);
        }
    }
}
