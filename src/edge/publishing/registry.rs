use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::tracked_connection::{AcceptedPublish, PublishState, TrackedConnection};
use crate::{
    edge::publisher::{ConnectionId, PublishError, PublishRequest},
    proto::v1::{EndReason, StreamStats},
};

/// The most connections that SyncNode accepts.
const MAX_CONNECTIONS: usize = 5000;

/// The age up to which measured values are sent in heartbeats.
const MAX_STATS_AGE: Duration = Duration::from_secs(10);

/// The state of all connections. It does no I/O: its methods return what the caller has to
/// do.
#[derive(Debug)]
pub(super) struct Registry {
    outage_grace: Duration,
    /// The boot of the media server; `None` before the first snapshot.
    pub(super) boot_id: Option<String>,
    pub(super) connections: HashMap<ConnectionId, TrackedConnection>,
    /// Removed connections, and when they were removed.
    pub(super) tombstones: HashMap<ConnectionId, Instant>,
    /// When the control plane last answered, or became unreachable.
    pub(super) last_answer_at: Instant,
    pub(super) is_unreachable: bool,
    /// The number of the newest report, and of the newest one that was answered.
    pub(super) last_report: u64,
    pub(super) last_answered_report: u64,
}

/// A publish that has ended, which the control plane does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndedPublish {
    pub(super) id: ConnectionId,
    pub(super) publish: AcceptedPublish,
    /// The newest report before the end. Each later one lacks the connection.
    last_report: u64,
}

/// What a connection that wants to publish needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BeginStep {
    /// A BeginPublish call.
    CallControlPlane,
    /// Nothing: the control plane has accepted it before.
    AlreadyAccepted,
}

impl Registry {
    /// No connection is known; the control plane counts as reachable.
    pub(super) fn new(outage_grace: Duration, now: Instant) -> Self {
        Self {
            outage_grace,
            boot_id: None,
            connections: HashMap::new(),
            tombstones: HashMap::new(),
            last_answer_at: now,
            is_unreachable: false,
            last_report: 0,
            last_answered_report: 0,
        }
    }

    /// The number of connections that the control plane has accepted.
    pub(super) fn accepted_count(&self) -> usize {
        let states = self
            .connections
            .values()
            .map(|connection| &connection.state);
        states
            .filter(|state| matches!(state, PublishState::Accepted(_)))
            .count()
    }

    /// A connection wants to publish. It becomes pending, unless it was accepted with this
    /// stream key before.
    pub(super) fn begin(
        &mut self,
        request: &PublishRequest,
        now: Instant,
    ) -> Result<BeginStep, PublishError> {
        match self.connections.get(&request.id) {
            Some(connection) => match &connection.state {
                PublishState::Kicked(reason) => return Err(PublishError::Stopped(*reason)),
                PublishState::Accepted(_) if connection.has_key(&request.stream_key) => {
                    return Ok(BeginStep::AlreadyAccepted);
                }
                _ => {}
            },
            None if self.is_full() => return Err(PublishError::Unreachable),
            None => {}
        }
        self.tombstones.remove(&request.id);
        let pending = TrackedConnection::new(PublishState::Pending, Some(request.clone()), now);
        self.connections.insert(request.id.clone(), pending);
        Ok(BeginStep::CallControlPlane)
    }

    /// The control plane has accepted a connection. Returns whether its media flows
    /// already, or the ended publish if the connection is gone.
    pub(super) fn accept(
        &mut self,
        id: &ConnectionId,
        publish: AcceptedPublish,
        now: Instant,
    ) -> Result<bool, EndedPublish> {
        let is_current_boot = self.boot_id.as_ref() == Some(&publish.boot_id);
        let Some(connection) = self.connections.get_mut(id) else {
            return Err(self.ended_publish(id.clone(), publish));
        };
        // A publish of an earlier boot is adopted into this one by the next report.
        connection.state = match is_current_boot {
            true => PublishState::Accepted(publish),
            false => PublishState::Unknown,
        };
        connection.since = now;
        Ok(connection.media_flows)
    }

    /// The control plane has not accepted a connection.
    pub(super) fn refuse(&mut self, id: &ConnectionId, now: Instant) {
        let connection = self.connections.get(id);
        if connection.is_some_and(TrackedConnection::is_pending) {
            self.remove(id, now);
        }
    }

    /// Whether a connection that the media server still has may continue. Returns `true` if
    /// it was not known; its state is unknown from now on.
    pub(super) fn update(
        &mut self,
        request: &PublishRequest,
        now: Instant,
    ) -> Result<bool, PublishError> {
        let (grace_expired, is_full) = (self.grace_expired(now), self.is_full());
        match self.connections.get_mut(&request.id) {
            Some(connection) => {
                connection.request.get_or_insert_with(|| request.clone());
                match connection.state {
                    PublishState::Kicked(reason) => Err(PublishError::Stopped(reason)),
                    PublishState::Pending => Ok(false),
                    _ if grace_expired => Err(PublishError::GraceExpired),
                    _ => Ok(false),
                }
            }
            None if self.tombstones.contains_key(&request.id) => Ok(false),
            None if grace_expired => Err(PublishError::GraceExpired),
            None if is_full => Err(PublishError::Unreachable),
            None => {
                let mut connection =
                    TrackedConnection::new(PublishState::Unknown, Some(request.clone()), now);
                connection.media_flows = true;
                self.connections.insert(request.id.clone(), connection);
                Ok(true)
            }
        }
    }

    /// Media of a connection flows. Returns whether that is new.
    pub(super) fn media_started(&mut self, id: &ConnectionId) -> bool {
        let connection = self.connections.get_mut(id);
        connection.is_some_and(|connection| !std::mem::replace(&mut connection.media_flows, true))
    }

    /// Whether a connection with the id and the stream key of this request is known: ids may
    /// be reused.
    pub(super) fn is_known(&self, request: &PublishRequest) -> bool {
        let connection = self.connections.get(&request.id);
        connection.is_some_and(|connection| connection.has_key(&request.stream_key))
    }

    /// Marks a heartbeat of a connection as queued. Returns `false` if one is already, or
    /// the connection is not known.
    pub(super) fn queue_heartbeat(&mut self, id: &ConnectionId) -> bool {
        let connection = self.connections.get_mut(id);
        connection
            .is_some_and(|connection| !std::mem::replace(&mut connection.heartbeat_queued, true))
    }

    pub(super) fn heartbeat_done(&mut self, id: &ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.heartbeat_queued = false;
        }
    }

    /// The values for a heartbeat; `None`, which means that media flows, if none were
    /// measured in the last 10 seconds.
    pub(super) fn recent_stats(&self, id: &ConnectionId, now: Instant) -> Option<StreamStats> {
        let connection = self.connections.get(id)?;
        let (measured_at, _) = connection.measured.as_ref()?;
        let is_recent = now < *measured_at + MAX_STATS_AGE;
        connection.stats().filter(|_| is_recent)
    }

    /// An error if an accepted connection was kicked since.
    pub(super) fn check_not_kicked(&self, id: &ConnectionId) -> Result<(), PublishError> {
        match self.connections.get(id).map(|connection| &connection.state) {
            Some(PublishState::Kicked(reason)) => Err(PublishError::Stopped(*reason)),
            _ => Ok(()),
        }
    }

    /// The publish of a connection, if the control plane has accepted it.
    pub(super) fn accepted_publish(&self, id: &ConnectionId) -> Option<AcceptedPublish> {
        match &self.connections.get(id)?.state {
            PublishState::Accepted(publish) => Some(publish.clone()),
            _ => None,
        }
    }

    /// A connection is gone. Returns its publish, if it was accepted.
    pub(super) fn end(&mut self, id: &ConnectionId, now: Instant) -> Option<EndedPublish> {
        match self.remove(id, now)?.state {
            PublishState::Accepted(publish) => Some(self.ended_publish(id.clone(), publish)),
            _ => None,
        }
    }

    /// Marks a connection as to be disconnected. The first reason counts.
    pub(super) fn kick(&mut self, id: &ConnectionId, reason: EndReason) {
        if let Some(connection) = self.connections.get_mut(id)
            && !matches!(connection.state, PublishState::Kicked(_))
        {
            connection.state = PublishState::Kicked(reason);
        }
    }

    /// The connections to disconnect now: kicked ones, and after the grace period all but
    /// pending ones.
    pub(super) fn connections_to_disconnect(&self, now: Instant) -> Vec<ConnectionId> {
        let grace_expired = self.grace_expired(now);
        let connections = self.connections.iter();
        let unwanted = connections.filter(|(_, connection)| match connection.state {
            PublishState::Kicked(_) => true,
            PublishState::Pending => false,
            PublishState::Accepted(_) | PublishState::Unknown => grace_expired,
        });
        unwanted.map(|(id, _)| id.clone()).collect()
    }

    /// Whether the control plane needs no EndPublish call: it has answered a later report,
    /// or the media server has a new boot.
    pub(super) fn is_end_obsolete(&self, ended: &EndedPublish) -> bool {
        self.last_answered_report > ended.last_report
            || self.boot_id.as_ref() != Some(&ended.publish.boot_id)
    }

    pub(super) fn ended_publish(&self, id: ConnectionId, publish: AcceptedPublish) -> EndedPublish {
        EndedPublish {
            id,
            publish,
            last_report: self.last_report,
        }
    }

    fn remove(&mut self, id: &ConnectionId, now: Instant) -> Option<TrackedConnection> {
        if self.tombstones.len() < MAX_CONNECTIONS {
            self.tombstones.insert(id.clone(), now);
        }
        self.connections.remove(id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections.len() >= MAX_CONNECTIONS
    }

    fn grace_expired(&self, now: Instant) -> bool {
        self.is_unreachable
            && now.saturating_duration_since(self.last_answer_at) > self.outage_grace
    }
}
