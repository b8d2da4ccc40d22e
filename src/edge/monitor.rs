use std::sync::LazyLock;

use tokio_util::sync::CancellationToken;

use super::publishing::{EdgeHealth, Publishers};
use crate::{
    operations::Monitored,
    telemetry::metrics::{EDGE, LOG_LINES, exposition},
};

/// An edge, as its operations port shows it.
pub(super) struct EdgeMonitor {
    publishers: Publishers,
    shutdown: CancellationToken,
}

impl EdgeMonitor {
    /// Sets the metrics that never change.
    pub(super) fn new(
        publishers: Publishers,
        relay_capacity: u32,
        shutdown: CancellationToken,
    ) -> Self {
        EDGE.relays_limit.set(relay_capacity.into());
        Self {
            publishers,
            shutdown,
        }
    }

    fn health(&self) -> EdgeHealth {
        match self.shutdown.is_cancelled() {
            true => EdgeHealth::Draining,
            false => self.publishers.health(),
        }
    }
}

impl Monitored for EdgeMonitor {
    fn readiness(&self) -> (bool, &'static str) {
        let health = self.health();
        (health == EdgeHealth::Serving, health.as_str())
    }

    async fn metrics(&self) -> String {
        let publishers = &self.publishers;
        let (is_ready, _) = self.readiness();
        EDGE.ready.set(is_ready.into());
        EDGE.media_server_up
            .set(publishers.is_media_server_up().into());
        EDGE.control_plane_up
            .set(publishers.is_control_plane_up().into());
        let accepted = publishers.accepted_count();
        EDGE.publishers
            .set(i64::try_from(accepted).unwrap_or(i64::MAX));
        LazyLock::force(&LOG_LINES);
        exposition()
    }
}
