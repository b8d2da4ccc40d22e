use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    ControlPlane,
    connection::{ConnectionId, Offer, Refused},
    servers::MediaServer,
};

/// Which connections publish at the media server, and which may go on. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Publishing {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    control: ControlPlane,
    node_id: String,
    outage_grace: Duration,
}

impl Publishing {
    /// Nothing is known yet.
    pub(super) fn new(control: ControlPlane, node_id: String, outage_grace: Duration) -> Self {
        let inner = Arc::new(Inner {
            control,
            node_id,
            outage_grace,
        });
        Self { inner }
    }

    /// Asks the control plane whether a connection may publish.
    pub(super) async fn begin(&self, _offer: Offer) -> Result<(), Refused> {
        Err(Refused::Away)
    }

    /// Whether a connection that the media server says still stands may go on: answered
    /// from what is known, at once. One that is not known is made known.
    pub(super) fn update(&self, _offer: &Offer) -> Result<(), Refused> {
        Ok(())
    }

    /// Its media flows.
    pub(super) async fn media(&self, _id: &ConnectionId) {}

    /// It is gone.
    pub(super) async fn end(&self, _id: &ConnectionId) {}

    /// Makes the media server and the control plane agree, again and again until `shutdown`.
    pub(super) async fn keep(&self, _server: MediaServer, shutdown: CancellationToken) {
        shutdown.cancelled().await;
    }
}
