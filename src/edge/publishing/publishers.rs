use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex as Gate, Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{begin::LIMIT, poll::Sight, registry::Registry};
use crate::{
    edge::{
        ControlPlane,
        connection::{ConnectionId, Offer, Refused},
        servers::MediaServer,
    },
    proto::v1,
};

/// Of how many connections the control plane is told at once that media flows: begins and
/// ends go over the same connection.
const TOLD_AT_ONCE: usize = 16;

/// Which connections publish at the media server, and which may go on. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Publishing {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) control: ControlPlane,
    pub(super) node_id: String,
    registry: Mutex<Registry>,
    /// Held while a report is on its way, and by a begin until it is registered: what is
    /// not in a report counts as gone.
    pub(super) gate: Gate<()>,
    /// How many ends the control plane is being told of.
    pub(super) ending: watch::Sender<usize>,
    /// What was last seen of the media server.
    pub(super) sight: watch::Sender<Sight>,
    /// Looks at it now.
    pub(super) look: Notify,
    /// Reports all connections now.
    pub(super) report: Notify,
    /// Disconnects now who is to go.
    pub(super) kick: Notify,
    /// To tell the control plane that media flows.
    pub(super) telling: Semaphore,
}

impl Publishing {
    /// Nothing is known yet.
    pub(in crate::edge) fn new(
        control: ControlPlane,
        node_id: String,
        outage_grace: Duration,
    ) -> Self {
        let inner = Arc::new(Inner {
            control,
            node_id,
            registry: Mutex::new(Registry::new(outage_grace, Instant::now())),
            gate: Gate::new(()),
            ending: watch::Sender::new(0),
            sight: watch::Sender::new(Sight::default()),
            look: Notify::new(),
            report: Notify::new(),
            kick: Notify::new(),
            telling: Semaphore::new(TOLD_AT_ONCE),
        });
        Self { inner }
    }

    /// Asks the control plane whether a connection may publish: within 8 seconds. What was
    /// asked is known in any case, also if nobody waits for the answer any more.
    pub(in crate::edge) async fn begin(&self, offer: Offer) -> Result<(), Refused> {
        let publishing = self.clone();
        let asked = tokio::spawn(async move { publishing.ask(&offer).await });
        asked.await.unwrap_or(Err(Refused::Away))
    }

    /// The same for a media server that takes a newcomer only once the one before has gone:
    /// it may have been taken over itself by then.
    pub(in crate::edge) async fn begin_alone(&self, offer: Offer) -> Result<(), Refused> {
        let (id, deadline) = (offer.id.clone(), Instant::now() + LIMIT);
        self.begin(offer).await?;
        self.without_rivals(&id, deadline).await;
        let mut registry = self.registry();
        let stands = registry.stands(&id);
        if stands.is_err() {
            // No hook will tell that it is gone.
            registry.end(&id, Instant::now());
        }
        stands
    }

    /// Whether a connection that the media server says still stands may go on: answered
    /// from what is known, at once. One that is not known is made known.
    pub(in crate::edge) fn update(&self, offer: &Offer) -> Result<(), Refused> {
        let is_new = self.registry().update(offer, Instant::now())?;
        if is_new {
            self.inner.report.notify_one();
        } else if !self.inner.sight.borrow().is_up && self.registry().is_offered(offer) {
            // No report says it while nobody knows who else is there.
            self.tell_media(&offer.id);
        }
        Ok(())
    }

    /// Its media flows. The control plane is told of it the first time.
    #[expect(clippy::unused_async, reason = "who calls need not know what it takes")]
    pub(in crate::edge) async fn media(&self, id: &ConnectionId) {
        if self.registry().media(id) {
            self.tell_media(id);
        }
    }

    /// It is gone. The control plane is told of it, however long that takes.
    #[expect(clippy::unused_async, reason = "who calls need not know what it takes")]
    pub(in crate::edge) async fn end(&self, id: &ConnectionId) {
        let ended = self.registry().end(id, Instant::now());
        self.tell_ends(ended);
    }

    /// Makes the media server and the control plane agree, again and again until `shutdown`.
    pub(in crate::edge) async fn keep(&self, server: MediaServer, shutdown: CancellationToken) {
        let keeping = async {
            tokio::join!(self.watch(&server), self.report(), self.disconnect(&server));
        };
        shutdown.run_until_cancelled(keeping).await;
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        let registry = self.inner.registry.lock();
        registry.unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection as the control plane names it.
    pub(super) fn publisher(&self, boot_id: &str, id: &ConnectionId) -> v1::Publisher {
        v1::Publisher {
            node_id: self.inner.node_id.clone(),
            boot_id: boot_id.to_owned(),
            connection_id: id.as_str().to_owned(),
            peer_address: String::new(),
            protocol: v1::IngestProtocol::Unspecified.into(),
        }
    }
}
