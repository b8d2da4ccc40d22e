use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::known::{Grant, Known, Standing};
use crate::{
    edge::connection::{ConnectionId, Look, Offer, Refused, Seen},
    proto::v1::{EndReason, NodeAdoption, NodeConnection, SyncNodeRequest, SyncNodeResponse},
};

/// How many connections SyncNode takes.
const CONNECTIONS: usize = 5000;

/// How old a connection is before its absence from the media server's list counts.
const YOUNG: Duration = Duration::from_secs(5);

/// How many looks in a row a connection is absent from until it is gone.
const MISSES: u8 = 2;

/// For how long one that has ended, or was refused, is not taken for a new one because
/// the media server still tells of it.
const GHOST: Duration = Duration::from_secs(10);

/// What is known of all connections. It does no I/O: what is to be done is its answer.
#[derive(Debug)]
pub(super) struct Registry {
    grace: Duration,
    boot_id: Option<String>,
    connections: HashMap<ConnectionId, Known>,
    ghosts: HashMap<ConnectionId, Instant>,
    /// When the control plane last answered.
    answered: Instant,
    /// Whether it has failed to since.
    away: bool,
    /// How many reports were made, and the newest that was answered.
    made: u64,
    taken: u64,
}

/// A report of all connections, as long as it is on its way.
#[derive(Debug)]
pub(super) struct Report {
    number: u64,
    /// Those whose BeginPublish was on its way: what is said of them is not heeded.
    pending: HashSet<ConnectionId>,
    /// The report itself.
    pub(super) message: SyncNodeRequest,
}

/// A publish that has ended, of which the control plane is to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// The connection.
    pub(super) id: ConnectionId,
    /// What it was.
    pub(super) grant: Grant,
    /// The newest report that was made before: any later one tells it too.
    made: u64,
}

/// What a look at the media server makes necessary.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The media server has started anew.
    pub(super) new_boot: bool,
    /// Connections are there that the control plane does not know.
    pub(super) unknown: bool,
    /// Publishes whose media has begun to flow.
    pub(super) flowing: Vec<ConnectionId>,
    /// Publishes that are gone.
    pub(super) ended: Vec<Ended>,
}

/// What a wish to publish makes necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proposal {
    /// The control plane is to be asked.
    Ask,
    /// It has been, and nothing has changed.
    Granted,
}

impl Registry {
    /// Nothing is known yet, and the control plane counts as heard of.
    pub(super) fn new(grace: Duration, now: Instant) -> Self {
        Self {
            grace,
            boot_id: None,
            connections: HashMap::new(),
            ghosts: HashMap::new(),
            answered: now,
            away: false,
            made: 0,
            taken: 0,
        }
    }

    /// The run of the media server; `None` before the first look.
    pub(super) fn boot_id(&self) -> Option<&str> {
        self.boot_id.as_deref()
    }

    /// A connection wants to publish: it is pending from now on, unless it was accepted
    /// with this key before.
    pub(super) fn propose(&mut self, offer: &Offer, now: Instant) -> Result<Proposal, Refused> {
        match self.connections.get(&offer.id) {
            Some(known) => match &known.standing {
                Standing::Condemned(reason) => return Err(Refused::Stopped(*reason)),
                Standing::Accepted(_) if known.has_key(&offer.stream_key) => {
                    return Ok(Proposal::Granted);
                }
                _ => {}
            },
            None if self.is_full() => return Err(Refused::Away),
            None => {}
        }
        self.ghosts.remove(&offer.id);
        let known = Known::new(Standing::Pending, Some(offer.clone()), now);
        self.connections.insert(offer.id.clone(), known);
        Ok(Proposal::Ask)
    }

    /// The control plane has accepted it: whether its media flows already. If it is gone
    /// by now, the publish that has ended.
    pub(super) fn accept(
        &mut self,
        id: &ConnectionId,
        grant: Grant,
        now: Instant,
    ) -> Result<bool, Ended> {
        let is_current = self.boot_id.as_ref() == Some(&grant.boot_id);
        match self.connections.get_mut(id) {
            Some(known) => {
                // What was accepted in an earlier run is adopted into this one.
                known.standing = match is_current {
                    true => Standing::Accepted(grant),
                    false => Standing::Unknown,
                };
                known.since = now;
                Ok(known.media)
            }
            None => Err(self.ended(id.clone(), grant)),
        }
    }

    /// It was not accepted.
    pub(super) fn refuse(&mut self, id: &ConnectionId, now: Instant) {
        let known = self.connections.get(id);
        if known.is_some_and(|known| known.standing == Standing::Pending) {
            self.forget(id, now);
        }
    }

    /// Whether a connection may go on. One that is not known is unknown to the control
    /// plane from now on: `true` if it has become so.
    pub(super) fn update(&mut self, offer: &Offer, now: Instant) -> Result<bool, Refused> {
        let (is_over, is_full) = (self.is_over(now), self.is_full());
        match self.connections.get_mut(&offer.id) {
            Some(known) => {
                known.offer.get_or_insert_with(|| offer.clone());
                match known.standing {
                    Standing::Condemned(reason) => Err(Refused::Stopped(reason)),
                    Standing::Pending => Ok(false),
                    _ if is_over => Err(Refused::GraceOver),
                    _ => Ok(false),
                }
            }
            None if self.ghosts.contains_key(&offer.id) => Ok(false),
            None if is_over => Err(Refused::GraceOver),
            None if is_full => Err(Refused::Away),
            None => {
                let mut known = Known::new(Standing::Unknown, Some(offer.clone()), now);
                known.media = true;
                self.connections.insert(offer.id.clone(), known);
                Ok(true)
            }
        }
    }

    /// Its media flows: whether that is new.
    pub(super) fn media(&mut self, id: &ConnectionId) -> bool {
        let known = self.connections.get_mut(id);
        known.is_some_and(|known| !std::mem::replace(&mut known.media, true))
    }

    /// The publish that the control plane has accepted, if it has.
    pub(super) fn grant(&self, id: &ConnectionId) -> Option<Grant> {
        match &self.connections.get(id)?.standing {
            Standing::Accepted(grant) => Some(grant.clone()),
            _ => None,
        }
    }

    /// It is gone: the publish that has ended, if there was one.
    pub(super) fn end(&mut self, id: &ConnectionId, now: Instant) -> Option<Ended> {
        match self.forget(id, now)?.standing {
            Standing::Accepted(grant) => Some(self.ended(id.clone(), grant)),
            _ => None,
        }
    }

    /// It is to be disconnected.
    pub(super) fn condemn(&mut self, id: &ConnectionId, reason: EndReason) {
        let Some(known) = self.connections.get_mut(id) else {
            return;
        };
        if !matches!(known.standing, Standing::Condemned(_)) {
            known.standing = Standing::Condemned(reason);
        }
    }

    /// Those to be disconnected now. Once the grace is over, that is all but those of
    /// which the control plane is being asked.
    pub(super) fn unwelcome(&self, now: Instant) -> Vec<ConnectionId> {
        let is_over = self.is_over(now);
        let connections = self.connections.iter();
        let unwelcome = connections.filter(|(_, known)| match known.standing {
            Standing::Condemned(_) => true,
            Standing::Pending => false,
            Standing::Accepted(_) | Standing::Unknown => is_over,
        });
        unwelcome.map(|(id, _)| id.clone()).collect()
    }

    /// Takes in what the media server says, which was asked at `asked`.
    pub(super) fn look(&mut self, look: &Look, asked: Instant, now: Instant) -> Looked {
        let mut looked = Looked {
            new_boot: self.boot_id.as_ref() != Some(&look.boot_id),
            ..Looked::default()
        };
        if looked.new_boot {
            self.begin_boot(look);
        }
        self.ghosts.retain(|_, since| *since + GHOST > now);
        for seen in &look.seen {
            self.see(seen, now, &mut looked);
        }
        for id in self.absent(look, asked) {
            looked.ended.extend(self.end(&id, now));
        }
        looked
    }

    /// What the media server has forgotten is forgotten; what it still tells of has to be
    /// adopted into its new run.
    fn begin_boot(&mut self, look: &Look) {
        self.boot_id = Some(look.boot_id.clone());
        self.ghosts.clear();
        let seen: HashSet<_> = look.seen.iter().map(|seen| &seen.id).collect();
        self.connections
            .retain(|id, known| known.standing == Standing::Pending || seen.contains(id));
        for known in self.connections.values_mut() {
            if matches!(known.standing, Standing::Accepted(_)) {
                known.standing = Standing::Unknown;
            }
        }
    }

    fn see(&mut self, seen: &Seen, now: Instant, looked: &mut Looked) {
        let is_new = !self.connections.contains_key(&seen.id);
        if is_new && (self.is_full() || self.ghosts.contains_key(&seen.id)) {
            return;
        }
        let known = self
            .connections
            .entry(seen.id.clone())
            .or_insert_with(|| Known::new(Standing::Unknown, None, now));
        known.missed = 0;
        if known.offer.is_none() {
            known.offer.clone_from(&seen.offer);
        }
        let had_media = known.media;
        match &seen.stats {
            Some(stats) => known.measure(stats, now),
            None => known.media |= is_new,
        }
        looked.unknown |= is_new;
        if known.media && !had_media && matches!(known.standing, Standing::Accepted(_)) {
            looked.flowing.push(seen.id.clone());
        }
    }

    /// Those that the media server has not told of for so long that they are gone.
    fn absent(&mut self, look: &Look, asked: Instant) -> Vec<ConnectionId> {
        let seen: HashSet<_> = look.seen.iter().map(|seen| &seen.id).collect();
        let mut absent = Vec::new();
        for (id, known) in &mut self.connections {
            let is_young = known.since + YOUNG > asked;
            if seen.contains(id) || known.standing == Standing::Pending {
                continue;
            }
            known.missed = known.missed.saturating_add(1);
            if known.missed >= MISSES && !is_young {
                absent.push(id.clone());
            }
        }
        absent
    }

    /// A report of all connections; `None` before the first look.
    pub(super) fn report(&mut self, node_id: &str) -> Option<Report> {
        let boot_id = self.boot_id.clone()?;
        self.made += 1;
        let is_pending = |known: &Known| known.standing == Standing::Pending;
        let pending = self
            .connections
            .iter()
            .filter(|(_, known)| is_pending(known));
        let pending = pending.map(|(id, _)| id.clone()).collect();
        let reports = self.connections.iter().map(|(id, known)| known.report(id));
        let connections: Vec<NodeConnection> = reports.collect();
        Some(Report {
            number: self.made,
            pending,
            message: SyncNodeRequest {
                node_id: node_id.to_owned(),
                boot_id,
                connections,
            },
        })
    }

    /// The control plane has answered a report: the publishes that it knows and that are
    /// gone by now.
    pub(super) fn answered(
        &mut self,
        report: &Report,
        answer: SyncNodeResponse,
        now: Instant,
    ) -> Vec<Ended> {
        self.answered = now;
        self.away = false;
        self.taken = self.taken.max(report.number);
        if self.boot_id.as_ref() != Some(&report.message.boot_id) {
            return Vec::new();
        }
        for kick in answer.kicks {
            let id = ConnectionId::parse(&kick.connection_id);
            if let Some(id) = id.filter(|id| !report.pending.contains(id)) {
                self.condemn(&id, kick.reason());
            }
        }
        let adoptions = answer.adoptions.into_iter();
        let ended = adoptions.filter_map(|adoption| self.adopt(report, adoption));
        ended.collect()
    }

    fn adopt(&mut self, report: &Report, adoption: NodeAdoption) -> Option<Ended> {
        let id = ConnectionId::parse(&adoption.connection_id)?;
        let stream = adoption.stream?;
        let grant = Grant {
            stream_id: stream.id,
            epoch: stream.epoch,
            boot_id: report.message.boot_id.clone(),
        };
        match self.connections.get_mut(&id) {
            None => return Some(self.ended(id, grant)),
            // The answer of its BeginPublish is newer.
            Some(_) if report.pending.contains(&id) => {}
            Some(known) => match known.standing {
                Standing::Unknown | Standing::Accepted(_) => {
                    known.standing = Standing::Accepted(grant);
                }
                Standing::Pending | Standing::Condemned(_) => {}
            },
        }
        None
    }
    /// The control plane has not answered: whether that is new.
    pub(super) fn unanswered(&mut self) -> bool {
        !std::mem::replace(&mut self.away, true)
    }

    /// Whether the control plane has failed to answer.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Whether it is no matter any more that the control plane learns of an end: a
    /// later report has told it, or the media server has started anew.
    pub(super) fn is_moot(&self, ended: &Ended) -> bool {
        self.taken > ended.made || self.boot_id.as_ref() != Some(&ended.grant.boot_id)
    }

    fn ended(&self, id: ConnectionId, grant: Grant) -> Ended {
        let made = self.made;
        Ended { id, grant, made }
    }

    fn forget(&mut self, id: &ConnectionId, now: Instant) -> Option<Known> {
        if self.ghosts.len() < CONNECTIONS {
            self.ghosts.insert(id.clone(), now);
        }
        self.connections.remove(id)
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= CONNECTIONS
    }

    fn is_over(&self, now: Instant) -> bool {
        self.away && now.saturating_duration_since(self.answered) > self.grace
    }
}
