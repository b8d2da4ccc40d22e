//! The real thing: repositories over a database, with a clock that the test sets.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use sluice::{
    domain::{
        IngestProtocol, Name, NodeConnection, NodeReport, Page, ProjectId, ProjectUpdate,
        PublishAction, PublishConflictPolicy, Publisher, ReconnectWindow, SealedStreamKey, Stream,
        StreamId, StreamStats, StreamStatus, StreamTimeouts, Time,
    },
    error::Error,
    repositories::{NewProject, Projects, PublishAttempt, Publishing, StreamKeys, Streams},
    services::NodeReconciler,
};
use uuid::Uuid;

use super::{
    life::{CONNECT, Life, SILENCE},
    words::{Answer, Connection, Grant, RefusedFor, Report, Seconds, Synced},
    world::World,
};
use crate::harness::eventually;

/// One project, with the numbers that the model knows its streams by.
pub struct System<'a> {
    world: &'a World,
    pub project_id: ProjectId,
    streams: Vec<StreamId>,
    numbers: HashMap<StreamId, usize>,
    /// When the clock was at zero.
    begin: Time,
}

impl<'a> System<'a> {
    pub async fn new(world: &'a World, window: Seconds, takeover: bool) -> Self {
        let begin = sluice::domain::now();
        let id = ProjectId::generate();
        let project = NewProject {
            id,
            name: Name::parse("Show").unwrap(),
            reconnect_window: ReconnectWindow::parse(span(window)).unwrap(),
            publish_conflict_policy: match takeover {
                true => PublishConflictPolicy::Takeover,
                false => PublishConflictPolicy::RejectNew,
            },
            stream_key: key(id, 0),
            idempotency: None,
        };
        let projects = Projects::new(world.repositories.clone());
        let act = world.act();
        let created = projects.create(world.tenant(), &project, &act, begin);
        created.await.unwrap();
        Self {
            world,
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
            connect: span(CONNECT),
            heartbeat: span(SILENCE),
        };
        Publishing::new(self.world.repositories.clone(), timeouts)
    }

    /// Nodes of different runs are different nodes.
    fn publisher(&self, connection: Connection) -> Publisher {
        Publisher {
            node_id: format!("{}-n{}", self.project_id, connection.node),
            boot_id: format!("b{}", connection.boot),
            connection_id: format!("c{}", connection.number),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
        }
    }

    pub async fn begin(&mut self, who: Connection, key: u8, media: bool, now: Seconds) -> Answer {
        let publish = PublishAttempt {
            key_hash: &hash(self.project_id, key),
            publisher: &self.publisher(who),
            media_flowing: media,
            play_url: None,
            already_connected: false,
        };
        match self.publishing().begin(publish, self.at(now)).await {
            Ok(stream) => Answer::Begun(self.grant(who, &stream)),
            Err(error) => Answer::Refused(refused_for(error)),
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

    /// A report of a media server, without statistics: media flows.
    pub async fn sync(&mut self, node: u8, boot: u8, reports: &[Report], now: Seconds) -> Synced {
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
        let sync = NodeReconciler::new(self.publishing(), self.world.sealer.clone());
        let outcome = match sync.sync(&report, &|| self.at(now)).await {
            Ok(outcome) => outcome,
            Err(Error::NodeSuperseded) => {
                return Synced {
                    refused: true,
                    ..Synced::default()
                };
            }
            Err(other) => panic!("{other:?}"),
        };
        let who = |connection_id: &str| {
            let of = |report: &&Report| self.publisher(report.who).connection_id == connection_id;
            reports.iter().find(of).unwrap().who
        };
        let kicks = outcome.kicks.iter();
        let kicks = kicks.map(|(id, reason)| (who(id), *reason)).collect();
        let ended = outcome.ended.iter().map(|id| self.numbers[id]).collect();
        let adopted = outcome.adoptions.iter();
        let adopted: Vec<_> = adopted.map(|(id, stream)| (who(id), stream)).collect();
        Synced {
            refused: false,
            kicks,
            ended,
            adoptions: adopted
                .into_iter()
                .map(|(who, stream)| self.grant(who, stream))
                .collect(),
        }
    }

    fn report(&self, report: &Report) -> NodeConnection {
        NodeConnection {
            publisher: self.publisher(report.who),
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
        let streams = Streams::new(self.world.repositories.clone());
        let (tenant, act) = (self.world.tenant(), self.world.act());
        let stopped = streams.stop(tenant, *newest, span(hold), &act, self.at(now));
        stopped.await.unwrap();
    }

    pub async fn rotate(&self, number: u8, grace: Seconds, now: Seconds) {
        let keys = StreamKeys::new(self.world.repositories.clone());
        let (tenant, act) = (self.world.tenant(), self.world.act());
        let key = key(self.project_id, number);
        let rotated = keys.rotate(
            tenant,
            self.project_id,
            &key,
            span(grace),
            &act,
            self.at(now),
        );
        rotated.await.unwrap();
    }

    pub async fn disable(&self, disabled: bool, now: Seconds) {
        let projects = Projects::new(self.world.repositories.clone());
        let update = ProjectUpdate {
            disabled: Some(disabled),
            ..ProjectUpdate::default()
        };
        let (tenant, act) = (self.world.tenant(), self.world.act());
        let updated = projects.update(tenant, self.project_id, &update, &act, self.at(now));
        updated.await.unwrap();
    }

    /// A look of the reaper.
    pub async fn reap(&self, now: Seconds) {
        let publishing = self.publishing();
        // One that is still locked is left alone: until the next look.
        eventually("nothing is overdue", async || {
            let overdue = publishing.overdue(self.at(now), 1000).await.unwrap();
            for id in &overdue {
                publishing.expire(*id, self.at(now)).await.unwrap();
            }
            overdue.is_empty().then_some(())
        })
        .await;
    }

    /// Ends what is left, so that it is in no other run's way.
    pub async fn delete(&self, now: Seconds) {
        let projects = Projects::new(self.world.repositories.clone());
        let (tenant, act) = (self.world.tenant(), self.world.act());
        let deleted = projects.delete(tenant, self.project_id, true, &act, self.at(now));
        deleted.await.unwrap();
    }

    /// The project's revision, and its streams in the words of the model, the oldest first.
    pub async fn state(&self) -> (i64, Vec<Life>) {
        let projects = Projects::new(self.world.repositories.clone());
        let project = projects
            .get(self.world.tenant(), self.project_id)
            .await
            .unwrap();
        let streams = Streams::new(self.world.repositories.clone());
        let page = Page {
            size: 200,
            below: Uuid::max(),
        };
        let listed = streams
            .list(self.world.tenant(), self.project_id, None, page)
            .await
            .unwrap();
        let unended = listed
            .iter()
            .filter(|one| one.status != StreamStatus::Ended);
        assert_eq!(unended.map(|one| one.id).next(), project.live_stream_id);
        let lives = listed
            .iter()
            .rev()
            .map(|stream| self.life(stream))
            .collect();
        (project.revision, lives)
    }

    fn life(&self, stream: &Stream) -> Life {
        let seconds = |time: Time| (time - self.begin).num_seconds();
        let digits = |id: &str| {
            id.rsplit(|c: char| !c.is_ascii_digit())
                .next()
                .unwrap()
                .parse()
        };
        Life {
            status: stream.status,
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

fn refused_for(error: Error) -> RefusedFor {
    match error {
        Error::StreamKeyInvalid => RefusedFor::Key,
        Error::NodeSuperseded => RefusedFor::Boot,
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
