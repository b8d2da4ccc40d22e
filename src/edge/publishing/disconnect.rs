use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::timeout};

use super::publishers::Publishers;
use crate::edge::{publisher::ConnectionId, servers::MediaServer};

/// The most connections that are disconnected at once.
const MAX_BATCH_SIZE: usize = 16;

/// The longest time to disconnect one.
const KICK_TIMEOUT: Duration = Duration::from_secs(3);

impl Publishers {
    /// Disconnects kicked connections after each poll and each new kick, until they are
    /// gone.
    pub(super) async fn disconnect_kicked(&self, server: &MediaServer) {
        let mut was_failing = false;
        loop {
            self.inner.disconnect_now.notified().await;
            let ids = self.registry().connections_to_disconnect(Instant::now());
            let mut error = None;
            for batch in ids.chunks(MAX_BATCH_SIZE) {
                error = disconnect(server, batch).await.err().or(error);
            }
            if let (Some(error), false) = (&error, was_failing) {
                let error = format!("{error:#}");
                tracing::warn!(error, "the media server does not disconnect publishers");
            }
            was_failing = error.is_some();
        }
    }
}

async fn disconnect(server: &MediaServer, ids: &[ConnectionId]) -> anyhow::Result<()> {
    let mut kicks = JoinSet::new();
    for id in ids {
        let (server, id) = (server.clone(), id.clone());
        kicks.spawn(async move {
            tracing::info!(connection = id.as_str(), "disconnecting a publisher");
            timeout(KICK_TIMEOUT, server.kick(&id)).await?
        });
    }
    let mut disconnected = Ok(());
    while let Some(kicked) = kicks.join_next().await {
        disconnected = disconnected.and(kicked?);
    }
    disconnected
}
