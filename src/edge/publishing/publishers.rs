use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, Semaphore, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    health::{EdgeHealth, ReportStatus},
    registry::{EndedPublish, Registry},
};
use crate::{
    backoff::Backoff,
    edge::{
        control_plane::{CALL_TIMEOUT, ControlPlane},
        error_class::ErrorClass,
        media_meters::MediaMeters,
        publisher::{AcceptedStream, ConnectionId, PublishError, PublishRequest},
        servers::MediaServer,
    },
    proto::v1::{self, EndPublishRequest, stream_service_client::StreamServiceClient},
};

/// The delays between tries of a report or an EndPublish call.
pub(super) const RETRY_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// The most HeartbeatPublish calls at once. BeginPublish and EndPublish share the
/// connection with them.
const MAX_HEARTBEATS: usize = 16;

/// The publishers of one media server. Cheap to clone: clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct Publishers {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) control: ControlPlane,
    pub(super) node_id: String,
    registry: Mutex<Registry>,
    /// Held while a SyncNode call runs, and by a begin until it is registered: the control
    /// plane ends each publish that a report lacks.
    pub(super) report_lock: AsyncMutex<()>,
    /// The number of EndPublish calls that have not succeeded yet.
    pub(super) pending_ends: watch::Sender<usize>,
    /// The status of the media server at the last poll.
    pub(super) server_status: watch::Sender<ServerStatus>,
    /// The result of the last report; `None` before the first one.
    pub(super) report_status: Mutex<Option<ReportStatus>>,
    /// Requests a poll of the media server now.
    pub(super) poll_now: Notify,
    /// Requests a SyncNode call now.
    pub(super) report_now: Notify,
    /// Requests that kicked connections are disconnected now.
    pub(super) disconnect_now: Notify,
    pub(super) heartbeat_permits: Semaphore,
    /// What relays measure of the media.
    pub(super) media: MediaMeters,
    /// Tells relays of streams whose publishers were accepted.
    pub(super) accepted: mpsc::Sender<AcceptedStream>,
}

/// Whether the media server answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServerStatus {
    /// When the last successful poll began.
    pub(super) polled_at: Option<Instant>,
    pub(super) is_up: bool,
    pub(super) was_polled: bool,
}

impl Publishers {
    /// For the media server of a node. `accepted` is sent each stream whose publisher was
    /// accepted, unless it is full or closed.
    pub(crate) fn new(
        control: ControlPlane,
        node_id: String,
        outage_grace: Duration,
        accepted: mpsc::Sender<AcceptedStream>,
    ) -> Self {
        let inner = Arc::new(Inner {
            control,
            node_id,
            registry: Mutex::new(Registry::new(outage_grace, Instant::now())),
            report_lock: AsyncMutex::new(()),
            pending_ends: watch::Sender::new(0),
            server_status: watch::Sender::default(),
            report_status: Mutex::default(),
            poll_now: Notify::new(),
            report_now: Notify::new(),
            disconnect_now: Notify::new(),
            heartbeat_permits: Semaphore::new(MAX_HEARTBEATS),
            media: MediaMeters::default(),
            accepted,
        });
        Self { inner }
    }

    /// Where relays add what they measure of the media.
    pub(crate) fn media_meters(&self) -> MediaMeters {
        self.inner.media.clone()
    }

    /// Whether new publishers can be admitted.
    pub(crate) fn health(&self) -> EdgeHealth {
        let server = *self.inner.server_status.borrow();
        match *self.inner.report_status.lock() {
            _ if !server.was_polled => EdgeHealth::Starting,
            _ if !server.is_up => EdgeHealth::MediaServerAway,
            None => EdgeHealth::Starting,
            Some(ReportStatus::Accepted) => EdgeHealth::Serving,
            Some(ReportStatus::Unreachable) => EdgeHealth::ControlPlaneAway,
            Some(ReportStatus::AccessDenied) => EdgeHealth::AccessDenied,
            Some(ReportStatus::Superseded) => EdgeHealth::Superseded,
            Some(ReportStatus::Refused) => EdgeHealth::ReportRefused,
        }
    }

    /// Whether the media server has answered the last poll.
    pub(crate) fn is_media_server_up(&self) -> bool {
        self.inner.server_status.borrow().is_up
    }

    /// Whether the control plane has accepted the last report.
    pub(crate) fn is_control_plane_up(&self) -> bool {
        *self.inner.report_status.lock() == Some(ReportStatus::Accepted)
    }

    /// The number of connections that the control plane has accepted.
    pub(crate) fn accepted_count(&self) -> usize {
        self.registry().accepted_count()
    }

    /// Whether a connection that the media server still has may continue: from the known
    /// state, without a call. An unknown connection becomes known.
    pub(crate) fn update(&self, request: &PublishRequest) -> Result<(), PublishError> {
        let is_new = self.registry().update(request, Instant::now())?;
        if is_new {
            self.inner.report_now.notify_one();
        } else if !self.inner.server_status.borrow().is_up && self.registry().is_known(request) {
            // Without a current list of connections there are no reports.
            self.send_heartbeat(&request.id);
        }
        Ok(())
    }

    /// Media of a connection flows. The first time, the control plane is told.
    pub(crate) fn media_started(&self, id: &ConnectionId) {
        if self.registry().media_started(id) {
            self.send_heartbeat(id);
        }
    }

    /// A connection has ended. The control plane is told in the background, until it
    /// answers.
    pub(crate) fn end(&self, id: &ConnectionId) {
        let ended = self.registry().end(id, Instant::now());
        self.send_ends(ended);
    }

    /// Tells the control plane in the background of publishes that have ended, until it
    /// answers.
    pub(super) fn send_ends(&self, ended: impl IntoIterator<Item = EndedPublish>) {
        for ended in ended {
            let publishers = self.clone();
            let pending_ends = &self.inner.pending_ends;
            pending_ends.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                publishers.send_end(&ended).await;
                let pending_ends = &publishers.inner.pending_ends;
                pending_ends.send_modify(|count| *count -= 1);
            });
        }
    }

    async fn send_end(&self, ended: &EndedPublish) {
        for failures in 1.. {
            if self.registry().is_end_obsolete(ended) || self.end_publish(ended).await {
                return;
            }
            sleep(RETRY_BACKOFF.delay(failures)).await;
        }
    }

    /// Whether the control plane has decided; a refusal means that there is no such publish.
    async fn end_publish(&self, ended: &EndedPublish) -> bool {
        let request = EndPublishRequest {
            stream_id: ended.publish.stream_id.clone(),
            epoch: ended.publish.epoch,
            publisher: Some(self.publisher(&ended.publish.boot_id, &ended.id)),
        };
        let end = StreamServiceClient::end_publish;
        let control = &self.inner.control;
        match control.call(Some(CALL_TIMEOUT), request, end).await {
            Ok(_) => true,
            Err(status) => matches!(ErrorClass::of(&status), ErrorClass::Refused(_)),
        }
    }

    /// Reconciles the media server and the control plane until `shutdown`.
    pub(crate) async fn run(&self, server: MediaServer, shutdown: CancellationToken) {
        let running = async {
            tokio::join!(
                self.poll_server(&server),
                self.sync_reports(),
                self.disconnect_kicked(&server)
            );
        };
        shutdown.run_until_cancelled(running).await;
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner.registry.lock()
    }

    /// The proto message that identifies a connection.
    pub(super) fn publisher(&self, boot_id: &str, id: &ConnectionId) -> v1::Publisher {
        v1::Publisher {
            node_id: self.inner.node_id.clone(),
            boot_id: boot_id.to_owned(),
            connection_id: id.as_str().to_owned(),
            ..v1::Publisher::default()
        }
    }
}
