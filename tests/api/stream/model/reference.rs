//! The reference model: the expected behavior of a project and its streams.

use std::collections::{HashMap, HashSet};

use sluice::domain::{EndReason, StreamState};

use super::{
    messages::{Answer, Connection, Decision, Grant, RefusalReason, Report, Seconds, SyncOutcome},
    stream::ModelStream,
};

/// A project with its streams; only the last one may not have ended.
#[derive(Debug, Clone)]
pub struct Model {
    pub window: Seconds,
    pub takeover: bool,
    pub disabled: bool,
    pub held_until: Option<Seconds>,
    pub key: u8,
    pub previous_key: Option<(u8, Seconds)>,
    pub boots: HashMap<u8, Vec<u8>>,
    pub accepted: HashSet<Connection>,
    /// Connections that the media server has ended.
    pub gone: HashSet<Connection>,
    pub streams: Vec<ModelStream>,
    pub revision: i64,
}

impl Model {
    pub fn new(window: Seconds, takeover: bool) -> Self {
        Self {
            window,
            takeover,
            disabled: false,
            held_until: None,
            key: 0,
            previous_key: None,
            boots: HashMap::new(),
            accepted: HashSet::new(),
            gone: HashSet::new(),
            streams: Vec::new(),
            revision: 1,
        }
    }

    pub fn running(&mut self) -> Option<&mut ModelStream> {
        self.streams
            .last_mut()
            .filter(|stream| stream.end.is_none())
    }

    /// The first report of a boot supersedes all earlier boots of the node.
    pub fn enter(&mut self, node: u8, boot: u8) -> bool {
        let boots = self.boots.entry(node).or_default();
        if !boots.contains(&boot) {
            boots.push(boot);
        }
        boots.last() == Some(&boot)
    }

    /// BeginPublish, or an adoption if the connection is `already_connected`.
    pub fn begin(
        &mut self,
        connection: Connection,
        key: u8,
        media: bool,
        already_connected: bool,
        now: Seconds,
    ) -> Answer {
        if !self.enter(connection.node, connection.boot) {
            return Answer::Refused(RefusalReason::Boot);
        }
        let before = self.clone();
        let answer = self.try_begin(connection, key, media, already_connected, now);
        if matches!(answer, Answer::Refused(_)) {
            *self = before;
        }
        answer
    }

    fn try_begin(
        &mut self,
        connection: Connection,
        key: u8,
        media: bool,
        already_connected: bool,
        now: Seconds,
    ) -> Answer {
        let expiry = match (key == self.key, self.previous_key) {
            (true, _) => None,
            (false, Some((previous, expiry))) if previous == key => Some(expiry),
            _ => return Answer::Refused(RefusalReason::Key),
        };
        let window = self.window;
        let mut changes = 0;
        if let Some(stream) = self.running()
            && stream.connected
            && stream.connection.node == connection.node
            && stream.connection.boot != connection.boot
        {
            stream.lose(EndReason::NodeLost, window, now);
            changes += 1;
        }
        if let Some(stream) = self.running()
            && stream.connected
            && stream.connection == connection
        {
            let changed = stream.heartbeat(media, now);
            let epoch = stream.epoch;
            self.revision += changes + i64::from(changed);
            return self.grant(connection, epoch);
        }
        let refusal = if expiry.is_some_and(|expiry| expiry <= now) {
            Some(RefusalReason::Key)
        } else if self.disabled {
            Some(RefusalReason::Disabled)
        } else if self.held_until.is_some_and(|until| until > now) {
            Some(RefusalReason::Held)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Answer::Refused(refusal);
        }
        let takes_over = self.takeover && !already_connected;
        let waits = match self.running() {
            Some(stream) if stream.state != StreamState::Reconnecting && !takes_over => {
                return Answer::Refused(RefusalReason::Conflict);
            }
            running => running.is_some_and(|stream| stream.state == StreamState::Reconnecting),
        };
        let is_new = self.accepted.insert(connection);
        if self.gone.contains(&connection) || !is_new && !already_connected {
            return Answer::Refused(RefusalReason::Ended);
        }

        changes += 1;
        if waits && let Some(stream) = self.running() {
            stream.resume(connection, expiry, media, now);
        } else {
            if let Some(stream) = self.running() {
                stream.finish(EndReason::TakenOver, now);
                changes += 1;
            }
            self.streams
                .push(ModelStream::new(connection, expiry, media, now));
        }
        self.revision += changes;
        let epoch = self.running().map_or(0, |stream| stream.epoch);
        self.grant(connection, epoch)
    }

    fn grant(&self, connection: Connection, epoch: i64) -> Answer {
        Answer::Begun(Grant {
            connection,
            stream: self.streams.len() - 1,
            epoch,
        })
    }

    /// Whether the grant is the current one of its stream.
    pub fn holds(&self, grant: Grant) -> bool {
        let stream = &self.streams[grant.stream];
        stream.end.is_none()
            && stream.connected
            && stream.epoch == grant.epoch
            && stream.connection == grant.connection
    }

    pub fn heartbeat(&mut self, grant: Grant, media: bool, now: Seconds) -> Answer {
        let holds = self.holds(grant);
        let stream = &mut self.streams[grant.stream];
        if holds {
            let changed = stream.heartbeat(media, now);
            self.revision += i64::from(changed);
            return Answer::Continue;
        }
        if stream.epoch != grant.epoch || stream.connection != grant.connection {
            return Answer::Stop(EndReason::TakenOver);
        }
        Answer::Stop(
            stream
                .end
                .map_or(EndReason::PublisherEnded, |(reason, _)| reason),
        )
    }

    pub fn end(&mut self, grant: Grant, now: Seconds) -> Answer {
        self.gone.insert(grant.connection);
        if self.holds(grant) {
            let window = self.window;
            self.streams[grant.stream].disconnect(window, now);
            self.revision += 1;
        }
        Answer::Done
    }

    /// SyncNode: a media server reports its connections, all with media.
    pub fn sync(&mut self, node: u8, boot: u8, reports: &[Report], now: Seconds) -> SyncOutcome {
        let mut synced = SyncOutcome::default();
        if !self.enter(node, boot) {
            synced.refused = true;
            return synced;
        }
        let (window, number) = (self.window, self.streams.len().saturating_sub(1));
        let reported = |connection: Connection| {
            reports
                .iter()
                .find(|report| report.connection == connection)
        };
        let mut holder = None;
        let mut changed = false;
        if let Some(stream) = self.running()
            && stream.connected
            && stream.connection.node == node
        {
            changed = true;
            if stream.connection.boot != boot {
                stream.lose(EndReason::NodeLost, window, now);
            } else if let Some(report) = reported(stream.connection) {
                changed = stream.heartbeat(true, now);
                holder = Some((*report, stream.epoch));
            } else {
                stream.lose(EndReason::PublisherEnded, window, now);
            }
            synced.ended.extend(stream.end.map(|_| number));
        }
        self.revision += i64::from(changed);
        if let Some((report, epoch)) = holder {
            let grant = Grant {
                connection: report.connection,
                stream: number,
                epoch,
            };
            synced
                .adoptions
                .extend(Some(grant).filter(|_| report.named != Some(grant)));
        }

        let known = self.streams.clone();
        let holder = holder.map(|(report, _)| report.connection);
        for report in reports
            .iter()
            .filter(|report| Some(report.connection) != holder)
        {
            match (report.decision(&known), report.key) {
                (Decision::Ask(_), Some(key)) => {
                    match self.begin(report.connection, key, true, true, now) {
                        Answer::Begun(grant) => synced.adoptions.push(grant),
                        Answer::Refused(why) => synced.kicks.push((report.connection, why.into())),
                        other => panic!("{other:?}"),
                    }
                }
                (Decision::Ask(reason), None) | (Decision::Kick(reason), _) => {
                    synced.kicks.push((report.connection, reason));
                }
            }
        }
        synced
    }

    pub fn stop(&mut self, hold: Seconds, now: Seconds) {
        let held_until = (hold > 0).then_some(now + hold);
        if let Some(stream) = self.running() {
            stream.finish(EndReason::StoppedByOwner, now);
            self.revision += 1;
        } else if held_until != self.held_until {
            self.revision += 1;
        }
        self.held_until = held_until;
    }

    pub fn rotate(&mut self, grace: Seconds, now: Seconds) {
        self.previous_key = Some((self.key, now + grace));
        self.key += 1;
        self.revision += 1;
        let ends = grace == 0;
        if let Some(stream) = self.running() {
            let expiry = stream
                .key_expiry
                .map_or(now + grace, |own| own.min(now + grace));
            if ends {
                stream.finish(EndReason::KeyRotated, now);
                self.revision += 1;
            } else {
                stream.key_expiry = Some(expiry);
            }
        }
    }

    pub fn disable(&mut self, disabled: bool, now: Seconds) {
        self.disabled = disabled;
        self.revision += 1;
        if disabled && let Some(stream) = self.running() {
            stream.finish(EndReason::ProjectDisabled, now);
            self.revision += 1;
        }
    }

    /// One run of the reaper.
    pub fn reap(&mut self, now: Seconds) {
        let window = self.window;
        if let Some(stream) = self.running()
            && stream.expire(window, now)
        {
            self.revision += 1;
        }
    }
}
