//! The system under test: repositories over a database, with a clock that the test sets.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use sluice::{
    domain::{
        CreateTimeRange, IngestProtocol, Name, NodeConnection, NodeReport, OutagePolicy, Page,
        ProjectId, ProjectUpdate, PublishAction, PublishConflictPolicy, Publisher, ReconnectWindow,
        SealedStreamKey, Stream, StreamExpiry, StreamId, StreamState, StreamStats, StreamTimeouts,
        Time,
    },
    error::Error,
    repositories::{
        ChangeOptions, NewProject, Projects, PublishAttempt, Publishing, StreamFilter,
        StreamKeyRotation, StreamKeys, Streams,
    },
    services::NodeReconciler,
};
use uuid::Uuid;

use super::{
    messages::{Answer, Connection, Grant, RefusalReason, Report, Seconds, SyncOutcome},
    shared_database::SharedDatabase,
    stream::{CONNECT_TIMEOUT, HEARTBEAT_TIMEOUT, ModelStream},
};
use crate::harness::eventually;

/// One project, with the numbers of its streams in the model.
pub struct System<'a> {
    database: &'a SharedDatabase,
    pub project_id: ProjectId,
    streams: Vec<StreamId>,
    numbers: HashMap<StreamId, usize>,
    /// The time at which the clock was zero.
    begin: Time,
}

impl<'a> System<'a> {
    pub async fn new(database: &'a SharedDatabase, window: Seconds, takeover: bool) -> Self {
        let begin = sluice::domain::now();
        let id = ProjectId::generate();
        let project = NewProject {
            id,
            display_name: Name::parse("Show").unwrap(),
            reconnect_window: ReconnectWindow::parse(span(window)).unwrap(),
            publish_conflict_policy: match takeover {
                true => PublishConflictPolicy::Takeover,
                false => PublishConflictPolicy::RejectNew,
            },
            outage_policy: OutagePolicy::End,
            stream_key: key(id, 0),
            idempotency: None,
        };
        let projects = Projects::new(database.repositories.clone());
        let act = database.act();
        let created = projects.create(database.tenant(), &project, &act, begin);
        created.await.unwrap();
        Self {
            database,
            project_id: id,
            streams: Vec::new(),
            numbers: HashMap::new(),
            begin,
        }
    }

    pub fn at(&self, seconds: Seconds) -> Time {
        self.begin + TimeDelta::seconds(seconds)
    }

    fn publishing(&self) -> Publishing {
        let timeouts = StreamTimeouts {
            connect: span(CONNECT_TIMEOUT),
            heartbeat: span(HEARTBEAT_TIMEOUT),
        };
        Publishing::new(self.database.repositories.clone(), timeouts)
    }

    /// Runs use different node ids.
    fn publisher(&self, connection: Connection) -> Publisher {
        Publisher {
            node_id: format!("{}-n{}", self.project_id, connection.node),
            boot_id: format!("b{}", connection.boot),
            connection_id: format!("c{}", connection.number),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
        }
    }

    pub async fn begin(
        &mut self,
        connection: Connection,
        key: u8,
        media: bool,
        now: Seconds,
    ) -> Answer {
        let publish = PublishAttempt {
            key_hash: &hash(self.project_id, key),
            publisher: &self.publisher(connection),
            media_flowing: media,
            play_url: None,
            already_connected: false,
        };
        match self.publishing().begin(publish, &|| self.at(now)).await {
            Ok(stream) => Answer::Begun(self.grant(connection, &stream)),
            Err(error) => Answer::Refused(refusal_reason(error)),
        }
    }

    fn grant(&mut self, connection: Connection, stream: &Stream) -> Grant {
        let next = self.numbers.len();
        let number = *self.numbers.entry(stream.id).or_insert(next);
        if number == next {
            self.streams.push(stream.id);
        }
        Grant {
            connection,
            stream: number,
            epoch: stream.epoch,
        }
    }

    pub async fn heartbeat(&self, grant: Grant, media: bool, now: Seconds) -> Answer {
        let stats = StreamStats {
            bytes_received: i64::from(media),
            ..StreamStats::default()
        };
        let (id, publisher) = (self.streams[grant.stream], self.publisher(grant.connection));
        let heartbeat = self
            .publishing()
            .heartbeat(id, grant.epoch, &publisher, Some(&stats), self.at(now))
            .await;
        match heartbeat.unwrap().1 {
            PublishAction::Continue => Answer::Continue,
            PublishAction::Stop(reason) => Answer::Stop(reason),
        }
    }

    pub async fn end(&self, grant: Grant, now: Seconds) -> Answer {
        let (id, publisher) = (self.streams[grant.stream], self.publisher(grant.connection));
        let publishing = self.publishing();
        let ended = publishing.end(id, grant.epoch, &publisher, self.at(now));
        ended.await.unwrap();
        Answer::Done
    }

    /// SyncNode without statistics, which means that media flows.
    pub async fn sync(
        &mut self,
        node: u8,
        boot: u8,
        reports: &[Report],
        now: Seconds,
    ) -> SyncOutcome {
        let itself = self.publisher(Connection {
            node,
            boot,
            number: 0,
        });
        let report = NodeReport {
            node_id: itself.node_id,
            boot_id: itself.boot_id,
            connections: reports.iter().map(|one| self.report(one)).collect(),
        };
        let sync = NodeReconciler::new(self.publishing(), self.database.sealer.clone());
        let outcome = match sync.sync(&report, &|| self.at(now)).await {
            Ok(outcome) => outcome,
            Err(Error::NodeSuperseded) => {
                return SyncOutcome {
                    refused: true,
                    ..SyncOutcome::default()
                };
            }
            Err(other) => panic!("{other:?}"),
        };
        let connection = |connection_id: &str| {
            let of =
                |report: &&Report| self.publisher(report.connection).connection_id == connection_id;
            reports.iter().find(of).unwrap().connection
        };
        let kicks = outcome.kicks.iter();
        let kicks = kicks
            .map(|(id, reason)| (connection(id), *reason))
            .collect();
        let ended = outcome.ended.iter().map(|id| self.numbers[id]).collect();
        let adopted = outcome.adoptions.iter();
        let adopted: Vec<_> = adopted
            .map(|(id, stream)| (connection(id), stream))
            .collect();
        SyncOutcome {
            refused: false,
            kicks,
            ended,
            adoptions: adopted
                .into_iter()
                .map(|(connection, stream)| self.grant(connection, stream))
                .collect(),
        }
    }

    fn report(&self, report: &Report) -> NodeConnection {
        NodeConnection {
            publisher: self.publisher(report.connection),
            known_stream: report
                .named
                .map(|grant| (self.streams[grant.stream], grant.epoch)),
            stats: None,
            key_hash: report.key.map(|key| hash(self.project_id, key)),
            play_url: None,
        }
    }

    /// Stops the newest stream.
    pub async fn stop(&self, hold: Seconds, now: Seconds) {
        let Some(newest) = self.streams.last() else {
            return;
        };
        let streams = Streams::new(self.database.repositories.clone());
        let (tenant, act) = (self.database.tenant(), self.database.act());
        let stopped = streams.stop(tenant, *newest, span(hold), None, &act, self.at(now));
        stopped.await.unwrap();
    }

    pub async fn rotate(&self, number: u8, grace: Seconds, now: Seconds) {
        let keys = StreamKeys::new(self.database.repositories.clone());
        let (tenant, act) = (self.database.tenant(), self.database.act());
        let new = StreamKeyRotation {
            key: key(self.project_id, number),
            grace: span(grace),
            idempotency: None,
        };
        let rotated = keys.rotate(tenant, self.project_id, &new, &act, self.at(now));
        rotated.await.unwrap();
    }

    pub async fn disable(&self, disabled: bool, now: Seconds) {
        let projects = Projects::new(self.database.repositories.clone());
        let update = ProjectUpdate {
            disabled: Some(disabled),
            ..ProjectUpdate::default()
        };
        let (tenant, act) = (self.database.tenant(), self.database.act());
        let (id, options) = (self.project_id, ChangeOptions::default());
        let updated = projects.update(tenant, id, &update, &options, &act, self.at(now));
        updated.await.unwrap();
    }

    /// One run of the reaper.
    pub async fn reap(&self, now: Seconds) {
        let publishing = self.publishing();
        // A stream that is still locked is skipped until the next run.
        eventually("nothing is overdue", async || {
            let (all, now) = (StreamExpiry::All, self.at(now));
            let overdue = publishing
                .overdue(all, now, uuid::Uuid::nil().into(), 1000)
                .await
                .unwrap();
            for id in &overdue {
                publishing.expire(*id, all, now).await.unwrap();
            }
            overdue.is_empty().then_some(())
        })
        .await;
    }

    /// Deletes the project, so that it does not affect other runs.
    pub async fn delete(&self, now: Seconds) {
        let projects = Projects::new(self.database.repositories.clone());
        let (tenant, act) = (self.database.tenant(), self.database.act());
        let (id, options) = (self.project_id, ChangeOptions::default());
        let deleted = projects.delete(tenant, id, true, &options, &act, self.at(now));
        deleted.await.unwrap();
    }

    /// The revision of the project, and its streams as model streams, oldest first.
    pub async fn state(&self) -> (i64, Vec<ModelStream>) {
        let projects = Projects::new(self.database.repositories.clone());
        let project = projects
            .get(self.database.tenant(), self.project_id)
            .await
            .unwrap();
        let streams = Streams::new(self.database.repositories.clone());
        let page = Page {
            size: 200,
            below: Uuid::max(),
        };
        let filter = StreamFilter {
            project_id: Some(self.project_id),
            state: None,
            created: CreateTimeRange::new(None, None),
        };
        let listed = streams
            .list(self.database.tenant(), filter, page)
            .await
            .unwrap();
        let unended = listed.iter().filter(|one| one.state != StreamState::Ended);
        assert_eq!(unended.map(|one| one.id).next(), project.live_stream_id);
        let streams = listed
            .iter()
            .rev()
            .map(|stream| self.model_stream(stream))
            .collect();
        (project.revision, streams)
    }

    fn model_stream(&self, stream: &Stream) -> ModelStream {
        let seconds = |time: Time| (time - self.begin).num_seconds();
        let digits = |id: &str| {
            id.rsplit(|c: char| !c.is_ascii_digit())
                .next()
                .unwrap()
                .parse()
        };
        ModelStream {
            state: stream.state,
            epoch: stream.epoch,
            connection: Connection {
                node: digits(&stream.publisher.node_id).unwrap(),
                boot: digits(&stream.publisher.boot_id).unwrap(),
                number: digits(&stream.publisher.connection_id).unwrap(),
            },
            connected: stream.connected,
            was_live: stream.live_time.is_some(),
            seen: seconds(stream.last_seen_time),
            deadline: stream.deadline.map(seconds),
            key_expiry: stream.key_expire_time.map(seconds),
            end: stream.end_reason.zip(stream.end_time.map(seconds)),
        }
    }
}

fn refusal_reason(error: Error) -> RefusalReason {
    match error {
        Error::StreamKeyInvalid => RefusalReason::Key,
        Error::NodeSuperseded => RefusalReason::Boot,
        Error::PublishRefused(refusal) => refusal.into(),
        other => panic!("{other:?}"),
    }
}

fn span(seconds: Seconds) -> Duration {
    Duration::from_secs(seconds.try_into().unwrap())
}

fn hash(id: ProjectId, number: u8) -> Vec<u8> {
    let mut hash = id.uuid().as_bytes().to_vec();
    hash.push(number);
    hash
}

fn key(id: ProjectId, number: u8) -> SealedStreamKey {
    SealedStreamKey {
        hash: hash(id, number),
        sealed: vec![0; 8],
        hint: String::new(),
    }
}
