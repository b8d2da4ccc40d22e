use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::connection_state::{Grant, Known, Standing};
use crate::{
    edge::connection::{ConnectionId, Offer, Refused},
    proto::v1::{EndReason, StreamStats},
};

/// How many connections SyncNode takes.
const CONNECTIONS: usize = 5000;

/// For how long what was measured counts for what is.
const NEW: Duration = Duration::from_secs(10);

/// What is known of all connections. It does no I/O: what is to be done is its answer.
#[derive(Debug)]
pub(super) struct Registry {
    grace: Duration,
    pub(super) boot_id: Option<String>,
    pub(super) connections: HashMap<ConnectionId, Known>,
    pub(super) ghosts: HashMap<ConnectionId, Instant>,
    /// When the control plane last answered, or began not to.
    pub(super) answered: Instant,
    /// Whether it has failed to since.
    pub(super) away: bool,
    /// How many reports were made, and the newest that was answered.
    pub(super) made: u64,
    pub(super) taken: u64,
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

    /// Whether it is the connection that was offered so, and not an earlier one of its name.
    pub(super) fn is_offered(&self, offer: &Offer) -> bool {
        let known = self.connections.get(&offer.id);
        known.is_some_and(|known| known.has_key(&offer.stream_key))
    }

    /// The control plane is to be told of a connection: whether it is not yet.
    pub(super) fn begin_telling(&mut self, id: &ConnectionId) -> bool {
        let known = self.connections.get_mut(id);
        known.is_some_and(|known| !std::mem::replace(&mut known.is_told, true))
    }

    /// It has been.
    pub(super) fn end_telling(&mut self, id: &ConnectionId) {
        if let Some(known) = self.connections.get_mut(id) {
            known.is_told = false;
        }
    }

    /// What is told of its media between reports; media counts as flowing where nothing
    /// was measured of late.
    pub(super) fn stats(&self, id: &ConnectionId, now: Instant) -> Option<StreamStats> {
        let known = self.connections.get(id)?;
        let measured = known.measured.as_ref();
        let is_new = measured.is_some_and(|(at, _)| now < *at + NEW);
        known.stats().filter(|_| is_new)
    }

    /// What it says to one that wants to publish and was accepted: it may have to go
    /// already.
    pub(super) fn stands(&self, id: &ConnectionId) -> Result<(), Refused> {
        match self.connections.get(id).map(|known| &known.standing) {
            Some(Standing::Condemned(reason)) => Err(Refused::Stopped(*reason)),
            _ => Ok(()),
        }
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

    /// Whether it is no matter any more that the control plane learns of an end: a
    /// later report has told it, or the media server has started anew.
    pub(super) fn is_moot(&self, ended: &Ended) -> bool {
        self.taken > ended.made || self.boot_id.as_ref() != Some(&ended.grant.boot_id)
    }

    pub(super) fn ended(&self, id: ConnectionId, grant: Grant) -> Ended {
        let made = self.made;
        Ended { id, grant, made }
    }

    fn forget(&mut self, id: &ConnectionId, now: Instant) -> Option<Known> {
        if self.ghosts.len() < CONNECTIONS {
            self.ghosts.insert(id.clone(), now);
        }
        self.connections.remove(id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections.len() >= CONNECTIONS
    }

    fn is_over(&self, now: Instant) -> bool {
        self.away && now.saturating_duration_since(self.answered) > self.grace
    }
}
