use std::time::{Duration, Instant};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::publishers::{Publishers, ServerStatus};
use crate::{
    edge::{publisher::ConnectionId, servers::MediaServer},
    telemetry::metrics::EDGE,
};

const POLL_INTERVAL: Duration = Duration::from_secs(2);
const POLL_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BATCH_SIZE: usize = 16;
const KICK_TIMEOUT: Duration = Duration::from_secs(3);

impl Publishers {
    /// Polls the media server every 2 seconds, and on request.
    pub(super) async fn poll_server(&self, server: &MediaServer) {
        loop {
            self.poll_once(server).await;
            tokio::select! {
                () = sleep(POLL_INTERVAL) => {}
                () = self.inner.poll_now.notified() => {}
            }
        }
    }

    /// A media server that does not answer ends no publish.
    async fn poll_once(&self, server: &MediaServer) {
        let asked_at = Instant::now();
        let before = *self.inner.server_status.borrow();
        let snapshot = timeout(POLL_TIMEOUT, server.snapshot()).await;
        let no_answer = |_| Err(anyhow::anyhow!("no answer within {POLL_TIMEOUT:?}"));
        let snapshot = match snapshot.unwrap_or_else(no_answer) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                if before.is_up || !before.was_polled {
                    let error = format!("{error:#}");
                    tracing::error!(error, "the media server does not answer");
                }
                self.set_server_status(before.polled_at, false);
                return;
            }
        };

        let observed = self.registry().observe(&snapshot, asked_at, Instant::now());
        if observed.is_new_boot {
            let boot_id = &snapshot.boot_id;
            tracing::info!(boot_id, "the media server has a new boot id");
        } else if !before.is_up {
            tracing::info!("the media server answers again");
        }
        self.set_server_status(Some(asked_at), true);
        if observed.is_new_boot || observed.has_unknown || !before.is_up {
            self.inner.report_now.notify_one();
        }
        for id in &observed.media_started {
            self.send_heartbeat(id);
        }
        self.send_ends(observed.ended);
        self.inner.disconnect_now.notify_one();
    }

    fn set_server_status(&self, polled_at: Option<Instant>, is_up: bool) {
        self.inner.server_status.send_replace(ServerStatus {
            polled_at,
            is_up,
            was_polled: true,
        });
    }

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
            EDGE.disconnects.inc();
            timeout(KICK_TIMEOUT, server.kick(&id)).await?
        });
    }
    let mut disconnected = Ok(());
    while let Some(kicked) = kicks.join_next().await {
        disconnected = disconnected.and(kicked?);
    }
    disconnected
}
