use std::time::{Duration, Instant};

use super::{
    observe::Observation,
    registry::{BeginStep, EndedPublish, Registry},
    sync_report::SyncReport,
    tracked_connection::AcceptedPublish,
};
use crate::{
    domain::Secret,
    edge::publisher::{
        ConnectionId, ObservedPublisher, PublishError, PublishRequest, PublisherSnapshot,
    },
    proto::v1::{
        EndReason, IngestProtocol, NodeAdoption, NodeConnection, NodeKick, Stream, StreamStats,
        SyncNodeResponse,
    },
};

pub(super) const GRACE: Duration = Duration::from_mins(10);
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A registry with a simulated clock, media server and control plane.
pub(super) struct Simulation {
    pub(super) registry: Registry,
    pub(super) now: Instant,
    pub(super) listing_delay: Duration,
}

impl Simulation {
    /// In the boot `b1`, without publishers.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let mut sim = Self {
            registry: Registry::new(GRACE, now),
            now,
            listing_delay: 5 * SECOND,
        };
        assert!(sim.observe("b1", &[]).is_new_boot);
        sim
    }

    /// In the boot `b1`, with an accepted connection.
    pub(super) fn live(id: &str) -> Self {
        let mut sim = Self::new();
        sim.accept(id);
        sim
    }

    /// In the boot `b1`, with a connection whose BeginPublish call is running.
    pub(super) fn pending(id: &str) -> Self {
        let mut sim = Self::new();
        sim.begin(id).unwrap();
        sim
    }

    pub(super) fn begin(&mut self, id: &str) -> Result<BeginStep, PublishError> {
        self.registry.begin(&request(id), self.now)
    }

    pub(super) fn accept(&mut self, id: &str) {
        self.begin(id).unwrap();
        assert_eq!(self.answer_begin(id, 1), Ok(false));
    }

    /// The control plane accepts a pending connection.
    pub(super) fn answer_begin(&mut self, id: &str, epoch: i64) -> Result<bool, EndedPublish> {
        let publish = publish_of(id, epoch);
        self.registry.accept(&name(id), publish, self.now)
    }

    pub(super) fn update(&mut self, id: &str) -> Result<bool, PublishError> {
        self.registry.update(&request(id), self.now)
    }

    pub(super) fn end(&mut self, id: &str) -> Option<EndedPublish> {
        self.registry.end(&name(id), self.now)
    }

    pub(super) fn observe(&mut self, boot: &str, listed: &[&str]) -> Observation {
        let publishers = listed.iter().map(|id| observed(id, None));
        self.observe_publishers(boot, publishers.collect())
    }

    /// Observes one connection with this number of received bytes.
    pub(super) fn observe_bytes(&mut self, id: &str, bytes_received: i64) -> Observation {
        let stats = StreamStats {
            bytes_received,
            ..StreamStats::default()
        };
        self.observe_publishers("b1", vec![observed(id, Some(stats))])
    }

    fn observe_publishers(
        &mut self,
        boot: &str,
        publishers: Vec<ObservedPublisher>,
    ) -> Observation {
        let snapshot = PublisherSnapshot {
            boot_id: boot.to_owned(),
            publishers,
            listing_delay: self.listing_delay,
        };
        self.registry.observe(&snapshot, self.now, self.now)
    }

    pub(super) fn report(&mut self) -> SyncReport {
        self.registry.sync_report("n1").unwrap()
    }

    pub(super) fn reported(&mut self) -> Vec<NodeConnection> {
        let mut connections = self.report().message.connections;
        connections.sort_by(|one, other| one.connection_id.cmp(&other.connection_id));
        connections
    }

    pub(super) fn answer(
        &mut self,
        report: &SyncReport,
        answer: SyncNodeResponse,
    ) -> Vec<EndedPublish> {
        self.registry.control_plane_answered(self.now);
        self.registry.apply_sync(report, answer, self.now)
    }

    pub(super) fn sync(&mut self, answer: SyncNodeResponse) {
        let report = self.report();
        assert_eq!(self.answer(&report, answer), []);
    }

    pub(super) fn to_disconnect(&self) -> Vec<ConnectionId> {
        let mut ids = self.registry.connections_to_disconnect(self.now);
        ids.sort();
        ids
    }
}

pub(super) fn name(id: &str) -> ConnectionId {
    ConnectionId::parse(id).unwrap()
}

pub(super) fn request(id: &str) -> PublishRequest {
    PublishRequest {
        id: name(id),
        stream_key: Secret::new("sk_1"),
        peer_address: "203.0.113.5".to_owned(),
        protocol: IngestProtocol::Rtmp,
        play_url: Secret::new("rtmp://127.0.0.1/live/x"),
    }
}

fn observed(id: &str, stats: Option<StreamStats>) -> ObservedPublisher {
    ObservedPublisher {
        id: name(id),
        request: None,
        stats,
    }
}

pub(super) fn publish_of(id: &str, epoch: i64) -> AcceptedPublish {
    AcceptedPublish {
        stream_id: format!("stream of {id}"),
        epoch,
        boot_id: "b1".to_owned(),
    }
}

pub(super) fn kick(id: &str, reason: EndReason) -> SyncNodeResponse {
    SyncNodeResponse {
        kicks: vec![NodeKick {
            connection_id: id.to_owned(),
            reason: reason.into(),
        }],
        ..SyncNodeResponse::default()
    }
}

pub(super) fn adoption(id: &str, epoch: i64) -> SyncNodeResponse {
    let stream = Stream {
        id: format!("stream of {id}"),
        epoch,
        ..Stream::default()
    };
    SyncNodeResponse {
        adoptions: vec![NodeAdoption {
            connection_id: id.to_owned(),
            stream: Some(stream),
        }],
        ..SyncNodeResponse::default()
    }
}
