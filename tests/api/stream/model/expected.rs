//! What a project and its streams are to do, in as few words as possible.

use std::collections::{HashMap, HashSet};

use sluice::domain::{EndReason, StreamStatus};

use super::{
    life::Life,
    words::{Answer, Connection, Grant, RefusedFor, Report, Seconds, Synced, Verdict},
};

/// One project with its streams, the last of which may not have ended.
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
    /// Those of which the media server said that they are gone.
    pub gone: HashSet<Connection>,
    pub streams: Vec<Life>,
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

    pub fn running(&mut self) -> Option<&mut Life> {
        self.streams.last_mut().filter(|life| life.end.is_none())
    }

    /// A node's first report from a boot makes all boots before it dead.
    pub fn enter(&mut self, node: u8, boot: u8) -> bool {
        let boots = self.boots.entry(node).or_default();
        if !boots.contains(&boot) {
            boots.push(boot);
        }
        boots.last() == Some(&boot)
    }

    /// A connection asks to be let in; `standing` if it is known to stand.
    pub fn begin(
        &mut self,
        who: Connection,
        key: u8,
        media: bool,
        standing: bool,
        now: Seconds,
    ) -> Answer {
        if !self.enter(who.node, who.boot) {
            return Answer::Refused(RefusedFor::Boot);
        }
        let before = self.clone();
        let answer = self.try_begin(who, key, media, standing, now);
        if matches!(answer, Answer::Refused(_)) {
            *self = before;
        }
        answer
    }

    fn try_begin(
        &mut self,
        who: Connection,
        key: u8,
        media: bool,
        standing: bool,
        now: Seconds,
    ) -> Answer {
        let expiry = match (key == self.key, self.previous_key) {
            (true, _) => None,
            (false, Some((previous, expiry))) if previous == key => Some(expiry),
            _ => return Answer::Refused(RefusedFor::Key),
        };
        let window = self.window;
        let mut changes = 0;
        if let Some(life) = self.running()
            && life.connected
            && life.connection.node == who.node
            && life.connection.boot != who.boot
        {
            life.lose(EndReason::NodeLost, window, now);
            changes += 1;
        }
        if let Some(life) = self.running()
            && life.connected
            && life.connection == who
        {
            let changed = life.hear(media, now);
            let epoch = life.epoch;
            self.revision += changes + i64::from(changed);
            return self.grant(who, epoch);
        }
        let refusal = if expiry.is_some_and(|expiry| expiry <= now) {
            Some(RefusedFor::Key)
        } else if self.disabled {
            Some(RefusedFor::Disabled)
        } else if self.held_until.is_some_and(|until| until > now) {
            Some(RefusedFor::Held)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Answer::Refused(refusal);
        }
        let takes_over = self.takeover && !standing;
        let waits = match self.running() {
            Some(life) if life.status != StreamStatus::Reconnecting && !takes_over => {
                return Answer::Refused(RefusedFor::Conflict);
            }
            running => running.is_some_and(|life| life.status == StreamStatus::Reconnecting),
        };
        let is_new = self.accepted.insert(who);
        if self.gone.contains(&who) || !is_new && !standing {
            return Answer::Refused(RefusedFor::Ended);
        }

        changes += 1;
        if waits && let Some(life) = self.running() {
            life.resume(who, expiry, media, now);
        } else {
            if let Some(life) = self.running() {
                life.finish(EndReason::TakenOver, now);
                changes += 1;
            }
            self.streams.push(Life::new(who, expiry, media, now));
        }
        self.revision += changes;
        let epoch = self.running().map_or(0, |life| life.epoch);
        self.grant(who, epoch)
    }

    fn grant(&self, connection: Connection, epoch: i64) -> Answer {
        Answer::Begun(Grant {
            connection,
            stream: self.streams.len() - 1,
            epoch,
        })
    }

    /// Whether a report with this grant counts.
    pub fn holds(&self, grant: Grant) -> bool {
        let life = &self.streams[grant.stream];
        life.end.is_none()
            && life.connected
            && life.epoch == grant.epoch
            && life.connection == grant.connection
    }

    pub fn heartbeat(&mut self, grant: Grant, media: bool, now: Seconds) -> Answer {
        let holds = self.holds(grant);
        let life = &mut self.streams[grant.stream];
        if holds {
            let changed = life.hear(media, now);
            self.revision += i64::from(changed);
            return Answer::Continue;
        }
        if life.epoch != grant.epoch || life.connection != grant.connection {
            return Answer::Stop(EndReason::TakenOver);
        }
        Answer::Stop(
            life.end
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

    /// A media server reports all of its connections, on which media flows.
    pub fn sync(&mut self, node: u8, boot: u8, reports: &[Report], now: Seconds) -> Synced {
        let mut synced = Synced::default();
        if !self.enter(node, boot) {
            synced.refused = true;
            return synced;
        }
        let (window, number) = (self.window, self.streams.len().saturating_sub(1));
        let reported = |who: Connection| reports.iter().find(|report| report.who == who);
        let mut holder = None;
        let mut changed = false;
        if let Some(life) = self.running()
            && life.connected
            && life.connection.node == node
        {
            changed = true;
            if life.connection.boot != boot {
                life.lose(EndReason::NodeLost, window, now);
            } else if let Some(report) = reported(life.connection) {
                changed = life.hear(true, now);
                holder = Some((*report, life.epoch));
            } else {
                life.lose(EndReason::PublisherEnded, window, now);
            }
            synced.ended.extend(life.end.map(|_| number));
        }
        self.revision += i64::from(changed);
        if let Some((report, epoch)) = holder {
            let grant = Grant {
                connection: report.who,
                stream: number,
                epoch,
            };
            synced
                .adoptions
                .extend(Some(grant).filter(|_| report.named != Some(grant)));
        }

        let known = self.streams.clone();
        let holder = holder.map(|(report, _)| report.who);
        for report in reports.iter().filter(|report| Some(report.who) != holder) {
            match (report.verdict(&known), report.key) {
                (Verdict::Ask(_), Some(key)) => {
                    match self.begin(report.who, key, true, true, now) {
                        Answer::Begun(grant) => synced.adoptions.push(grant),
                        Answer::Refused(why) => synced.kicks.push((report.who, why.into())),
                        other => panic!("{other:?}"),
                    }
                }
                (Verdict::Ask(reason), None) | (Verdict::Kick(reason), _) => {
                    synced.kicks.push((report.who, reason));
                }
            }
        }
        synced
    }

    pub fn stop(&mut self, hold: Seconds, now: Seconds) {
        let held_until = (hold > 0).then_some(now + hold);
        if let Some(life) = self.running() {
            life.finish(EndReason::StoppedByOwner, now);
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
        if let Some(life) = self.running() {
            let expiry = life
                .key_expiry
                .map_or(now + grace, |own| own.min(now + grace));
            if ends {
                life.finish(EndReason::KeyRotated, now);
                self.revision += 1;
            } else {
                life.key_expiry = Some(expiry);
            }
        }
    }

    pub fn disable(&mut self, disabled: bool, now: Seconds) {
        self.disabled = disabled;
        self.revision += 1;
        if disabled && let Some(life) = self.running() {
            life.finish(EndReason::ProjectDisabled, now);
            self.revision += 1;
        }
    }

    /// A look of the reaper.
    pub fn reap(&mut self, now: Seconds) {
        let window = self.window;
        if let Some(life) = self.running()
            && life.expire(window, now)
        {
            self.revision += 1;
        }
    }
}
