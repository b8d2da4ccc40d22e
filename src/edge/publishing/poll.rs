use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::publishers::{Publishers, ServerStatus};
use crate::edge::servers::MediaServer;

/// The interval of polls of the media server.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The longest time of one poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);

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
        let snapshot = match timeout(POLL_TIMEOUT, server.snapshot()).await {
            Ok(snapshot) => snapshot,
            Err(_) => Err(anyhow::anyhow!("no answer within {POLL_TIMEOUT:?}")),
        };
        let snapshot = match snapshot {
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
}
