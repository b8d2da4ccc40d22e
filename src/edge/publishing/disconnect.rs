use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::timeout};

use super::publishers::Publishing;
use crate::edge::{connection::ConnectionId, servers::MediaServer};

/// How many are disconnected at once.
const TOGETHER: usize = 16;

/// How long the media server may take for one.
const KICK: Duration = Duration::from_secs(3);

impl Publishing {
    /// Disconnects who is to go, after each look, until they are gone.
    pub(super) async fn disconnect(&self, server: &MediaServer) {
        let mut was_failing = false;
        loop {
            self.inner.kick.notified().await;
            let unwelcome = self.registry().unwelcome(Instant::now());
            let mut fault = None;
            for some in unwelcome.chunks(TOGETHER) {
                fault = kick(server, some).await.err().or(fault);
            }
            if let (Some(fault), false) = (&fault, was_failing) {
                let error = format!("{fault:#}");
                tracing::warn!(error, "the media server does not disconnect publishers");
            }
            was_failing = fault.is_some();
        }
    }
}

async fn kick(server: &MediaServer, some: &[ConnectionId]) -> anyhow::Result<()> {
    let mut kicks = JoinSet::new();
    for id in some {
        let (server, id) = (server.clone(), id.clone());
        kicks.spawn(async move {
            tracing::info!(connection = id.as_str(), "disconnecting a publisher");
            timeout(KICK, server.kick(&id)).await?
        });
    }
    let mut kicked = Ok(());
    while let Some(one) = kicks.join_next().await {
        kicked = kicked.and(one?);
    }
    kicked
}
