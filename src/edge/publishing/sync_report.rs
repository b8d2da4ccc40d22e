use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    registry::{EndedPublish, Registry},
    tracked_connection::{AcceptedPublish, PublishState, TrackedConnection},
};
use crate::{
    edge::publisher::ConnectionId,
    proto::v1::{NodeAdoption, NodeConnection, SyncNodeRequest, SyncNodeResponse},
};

/// The longest time between two hooks of a connection.
const MAX_HOOK_INTERVAL: Duration = Duration::from_mins(1);

/// A report of all connections whose answer has not come yet.
#[derive(Debug)]
pub(super) struct SyncReport {
    number: u64,
    /// Connections whose BeginPublish call was running: its answer counts, not this one's.
    pending: HashSet<ConnectionId>,
    /// Connections with neither an accepted publish nor a stream key.
    keyless: HashSet<ConnectionId>,
    pub(super) message: SyncNodeRequest,
}

impl Registry {
    /// A report of all connections; `None` before the first snapshot.
    pub(super) fn sync_report(&mut self, node_id: &str) -> Option<SyncReport> {
        let boot_id = self.boot_id.clone()?;
        self.last_report += 1;
        let is_keyless = |connection: &TrackedConnection| {
            connection.state == PublishState::Unknown && connection.request.is_none()
        };
        let reports = self.connections.iter();
        let reports = reports.map(|(id, connection)| connection.report(id));
        let connections: Vec<NodeConnection> = reports.collect();
        Some(SyncReport {
            number: self.last_report,
            pending: self.ids_of(TrackedConnection::is_pending),
            keyless: self.ids_of(is_keyless),
            message: SyncNodeRequest {
                node_id: node_id.to_owned(),
                boot_id,
                connections,
            },
        })
    }

    fn ids_of(&self, is_wanted: impl Fn(&TrackedConnection) -> bool) -> HashSet<ConnectionId> {
        let connections = self.connections.iter();
        let wanted = connections.filter(|(_, connection)| is_wanted(connection));
        wanted.map(|(id, _)| id.clone()).collect()
    }

    /// Applies the answer to a report. Returns the publishes that the control plane has
    /// adopted and whose connections are gone.
    pub(super) fn apply_sync(
        &mut self,
        report: &SyncReport,
        answer: SyncNodeResponse,
        now: Instant,
    ) -> Vec<EndedPublish> {
        self.last_answered_report = self.last_answered_report.max(report.number);
        if self.boot_id.as_ref() != Some(&report.message.boot_id) {
            return Vec::new();
        }
        for kick in answer.kicks {
            let id = ConnectionId::parse(&kick.connection_id);
            let id = id.filter(|id| !report.pending.contains(id));
            if let Some(id) = id.filter(|id| !self.may_get_key(report, id, now)) {
                self.kick(&id, kick.reason());
            }
        }
        let adoptions = answer.adoptions.into_iter();
        let ended = adoptions.filter_map(|adoption| self.adopt(report, adoption));
        ended.collect()
    }

    /// Whether a connection was kicked only because its stream key is not known yet: after
    /// a restart of the edge its next hook has the key.
    fn may_get_key(&self, report: &SyncReport, id: &ConnectionId, now: Instant) -> bool {
        let is_young = |connection: &TrackedConnection| connection.since + MAX_HOOK_INTERVAL > now;
        report.keyless.contains(id) && self.connections.get(id).is_some_and(is_young)
    }

    fn adopt(&mut self, report: &SyncReport, adoption: NodeAdoption) -> Option<EndedPublish> {
        let id = ConnectionId::parse(&adoption.connection_id)?;
        let stream = adoption.stream?;
        let publish = AcceptedPublish {
            stream_id: stream.id,
            epoch: stream.epoch,
            boot_id: report.message.boot_id.clone(),
        };
        match self.connections.get_mut(&id) {
            None => return Some(self.ended_publish(id, publish)),
            // The answer of its BeginPublish call is newer.
            Some(_) if report.pending.contains(&id) => {}
            Some(connection) => match connection.state {
                PublishState::Unknown | PublishState::Accepted(_) => {
                    connection.state = PublishState::Accepted(publish);
                }
                PublishState::Pending | PublishState::Kicked(_) => {}
            },
        }
        None
    }

    /// The control plane has answered. Returns whether it was unreachable before.
    pub(super) fn control_plane_answered(&mut self, now: Instant) -> bool {
        self.last_answer_at = now;
        std::mem::replace(&mut self.is_unreachable, false)
    }

    /// The control plane has not answered. Returns whether that is new. The grace period
    /// begins now, however long ago the last call was.
    pub(super) fn control_plane_unreachable(&mut self, now: Instant) -> bool {
        let is_new = !std::mem::replace(&mut self.is_unreachable, true);
        if is_new {
            self.last_answer_at = now;
        }
        is_new
    }
}
