use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    connection_state::{Grant, Known, Standing},
    registry::{Ended, Registry},
};
use crate::{
    edge::connection::ConnectionId,
    proto::v1::{NodeAdoption, NodeConnection, SyncNodeRequest, SyncNodeResponse},
};

/// After how long a hook of a connection that stands has come, in any case.
const TOLD: Duration = Duration::from_mins(1);

/// A report of all connections, as long as it is on its way.
#[derive(Debug)]
pub(super) struct Report {
    number: u64,
    /// Those whose BeginPublish was on its way: what is said of them is not heeded.
    pending: HashSet<ConnectionId>,
    /// Those of whom neither a publish nor a stream key is known.
    keyless: HashSet<ConnectionId>,
    /// The report itself.
    pub(super) message: SyncNodeRequest,
}

impl Registry {
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
        let is_keyless =
            |known: &Known| known.standing == Standing::Unknown && known.offer.is_none();
        let keyless = self
            .connections
            .iter()
            .filter(|(_, known)| is_keyless(known));
        let keyless = keyless.map(|(id, _)| id.clone()).collect();
        let reports = self.connections.iter().map(|(id, known)| known.report(id));
        let connections: Vec<NodeConnection> = reports.collect();
        Some(Report {
            number: self.made,
            pending,
            keyless,
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
        self.taken = self.taken.max(report.number);
        if self.boot_id.as_ref() != Some(&report.message.boot_id) {
            return Vec::new();
        }
        for kick in answer.kicks {
            let id = ConnectionId::parse(&kick.connection_id);
            let id = id.filter(|id| !report.pending.contains(id));
            if let Some(id) = id.filter(|id| !self.is_too_early(report, id, now)) {
                self.condemn(&id, kick.reason());
            }
        }
        let adoptions = answer.adoptions.into_iter();
        let ended = adoptions.filter_map(|adoption| self.adopt(report, adoption));
        ended.collect()
    }

    /// Whether a connection was refused only because nothing of it is known yet: after a
    /// start of the edge its next hook tells its key.
    fn is_too_early(&self, report: &Report, id: &ConnectionId, now: Instant) -> bool {
        let known = self.connections.get(id);
        report.keyless.contains(id) && known.is_some_and(|known| known.since + TOLD > now)
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

    /// The control plane has answered: whether it had failed to.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.answered = now;
        std::mem::replace(&mut self.away, false)
    }

    /// The control plane has not answered: whether that is new. It counts as heard until
    /// now, however long nothing was asked of it.
    pub(super) fn unanswered(&mut self, now: Instant) -> bool {
        let is_new = !std::mem::replace(&mut self.away, true);
        if is_new {
            self.answered = now;
        }
        is_new
    }
}
