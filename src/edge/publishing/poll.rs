use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::publishers::Publishing;
use crate::edge::servers::MediaServer;

/// How often the media server is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(5);

/// What was last seen of the media server.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sight {
    /// When it was asked the last time that it answered.
    pub(super) at: Option<Instant>,
    /// Whether it answered the last time.
    pub(super) is_up: bool,
    /// Whether it has been asked at all.
    is_tried: bool,
}

impl Publishing {
    /// Looks at the media server every 2 seconds, and when somebody asks for it.
    pub(super) async fn watch(&self, server: &MediaServer) {
        loop {
            self.look(server).await;
            tokio::select! {
                () = sleep(EVERY) => {}
                () = self.inner.look.notified() => {}
            }
        }
    }

    /// A media server that does not answer has ended nobody.
    async fn look(&self, server: &MediaServer) {
        let asked = Instant::now();
        let before = *self.inner.sight.borrow();
        let look = match timeout(LOOK, server.look()).await {
            Ok(look) => look,
            Err(_) => Err(anyhow::anyhow!("no answer within {LOOK:?}")),
        };
        let look = match look {
            Ok(look) => look,
            Err(fault) => {
                if before.is_up || !before.is_tried {
                    let error = format!("{fault:#}");
                    tracing::error!(error, "the media server does not answer");
                }
                self.see(before.at, false);
                return;
            }
        };

        let looked = self.registry().look(&look, asked, Instant::now());
        if looked.new_boot {
            let boot_id = &look.boot_id;
            tracing::info!(boot_id, "a run of the media server begins");
        } else if !before.is_up {
            tracing::info!("the media server answers again");
        }
        self.see(Some(asked), true);
        if looked.new_boot || looked.unknown || !before.is_up {
            self.inner.report.notify_one();
        }
        for id in &looked.flowing {
            self.tell_media(id);
        }
        self.tell_ends(looked.ended);
        self.inner.kick.notify_one();
    }

    fn see(&self, at: Option<Instant>, is_up: bool) {
        self.inner.sight.send_replace(Sight {
            at,
            is_up,
            is_tried: true,
        });
    }
}
