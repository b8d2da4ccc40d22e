use std::time::{Duration, Instant};

use tokio::time::sleep;
use tonic::Status;

use super::{
    health::ReportStatus,
    publishers::{Publishers, RETRY_BACKOFF},
    sync_report::SyncReport,
};
use crate::{
    edge::{control_plane::CALL_TIMEOUT, error_class::ErrorClass, publisher::ConnectionId},
    proto::v1::{
        ErrorReason, HeartbeatPublishRequest, PublishAction, SyncNodeResponse,
        stream_service_client::StreamServiceClient,
    },
};

/// The interval of reports until the control plane sets one.
const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest and the longest interval of reports.
const MIN_REPORT_INTERVAL: Duration = Duration::from_millis(200);
const MAX_REPORT_INTERVAL: Duration = Duration::from_mins(5);

impl Publishers {
    /// Reports all connections at the interval that the control plane sets, and on request.
    /// There are no reports while the media server does not answer, as the list of
    /// connections may then be wrong.
    pub(super) async fn sync_reports(&self) {
        let mut failures = 0;
        loop {
            let mut status = self.inner.server_status.subscribe();
            if status.wait_for(|status| status.is_up).await.is_err() {
                return;
            }
            match self.sync_once().await {
                Ok(interval) => {
                    failures = 0;
                    sleep(MIN_REPORT_INTERVAL).await;
                    tokio::select! {
                        () = sleep(interval.saturating_sub(MIN_REPORT_INTERVAL)) => {}
                        () = self.inner.report_now.notified() => {}
                    }
                }
                Err(()) => {
                    failures += 1;
                    sleep(RETRY_BACKOFF.delay(failures)).await;
                }
            }
        }
    }

    /// Sends one report. Returns the interval until the next one.
    async fn sync_once(&self) -> Result<Duration, ()> {
        let _lock = self.inner.report_lock.lock().await;
        let report = self.registry().sync_report(&self.inner.node_id).ok_or(())?;
        let (mut message, sync) = (report.message.clone(), StreamServiceClient::sync_node);
        for connection in &mut message.connections {
            let (stream_id, id) = (&connection.stream_id, &connection.connection_id);
            let stats = connection.stats.take();
            connection.stats = self.inner.media.complete(stream_id, id, stats);
        }
        let control = &self.inner.control;
        let answer = control.call(Some(CALL_TIMEOUT), message, sync).await;
        let status = answer
            .as_ref()
            .map_or_else(ReportStatus::of_error, |_| ReportStatus::Accepted);
        *self.inner.report_status.lock() = Some(status);
        match answer {
            Ok(answer) => Ok(self.apply(&report, answer)),
            Err(status) => {
                self.sync_failed(&status);
                Err(())
            }
        }
    }

    fn apply(&self, report: &SyncReport, answer: SyncNodeResponse) -> Duration {
        let interval = answer.heartbeat_interval;
        let interval = interval.and_then(|interval| interval.try_into().ok());
        let kicks = answer.kicks.len();
        self.control_plane_answered();
        let ended = self.registry().apply_sync(report, answer, Instant::now());
        self.send_ends(ended);
        if kicks > 0 {
            self.inner.disconnect_now.notify_one();
        }
        let interval: Duration = interval.unwrap_or(DEFAULT_REPORT_INTERVAL);
        interval.clamp(MIN_REPORT_INTERVAL, MAX_REPORT_INTERVAL)
    }

    /// Sends the state of one connection to the control plane in the background, ahead of
    /// the next report. At most one heartbeat of a connection is queued.
    pub(super) fn send_heartbeat(&self, id: &ConnectionId) {
        if !self.registry().queue_heartbeat(id) {
            return;
        }
        let (publishers, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            if let Ok(_permit) = publishers.inner.heartbeat_permits.acquire().await {
                publishers.heartbeat_publish(&id).await;
            }
            publishers.registry().heartbeat_done(&id);
        });
    }

    async fn heartbeat_publish(&self, id: &ConnectionId) {
        let Some(publish) = self.registry().accepted_publish(id) else {
            return;
        };
        let stats = self.registry().recent_stats(id, Instant::now());
        let media = &self.inner.media;
        let stats = media.complete(&publish.stream_id, id.as_str(), stats);
        let request = HeartbeatPublishRequest {
            publisher: Some(self.publisher(&publish.boot_id, id)),
            stream_id: publish.stream_id,
            epoch: publish.epoch,
            stats,
        };
        let heartbeat = StreamServiceClient::heartbeat_publish;
        let control = &self.inner.control;
        let Ok(answer) = control.call(Some(CALL_TIMEOUT), request, heartbeat).await else {
            return;
        };
        self.control_plane_answered();
        if answer.action() == PublishAction::Stop {
            self.registry().kick(id, answer.stop_reason());
            self.inner.disconnect_now.notify_one();
        }
    }

    fn control_plane_answered(&self) {
        if self.registry().control_plane_answered(Instant::now()) {
            tracing::info!("the control plane answers again");
        }
    }

    fn sync_failed(&self, status: &Status) {
        let class = ErrorClass::of(status);
        // The control plane is reachable: live publishers may continue.
        if let ErrorClass::Refused(reason) = class
            && reason != ErrorReason::NodeSuperseded
        {
            let reason = reason.as_str_name();
            tracing::error!(reason, "the control plane refuses the report of publishers");
            return;
        }
        let is_new = self.registry().control_plane_unreachable(Instant::now());
        match class {
            ErrorClass::Refused(_) if is_new => self.log_superseded(),
            ErrorClass::Transient(_) if is_new => {
                let code = status.code();
                tracing::warn!(
                    ?code,
                    "the control plane does not answer, live publishers continue for now"
                );
            }
            _ => {}
        }
    }

    /// Logs that two media servers share a node id, which only an operator can fix.
    pub(super) fn log_superseded(&self) {
        let node_id = &self.inner.node_id;
        tracing::error!(
            node_id,
            "another media server reports with this node id (SLUICE_NODE_ID), which must be unique"
        );
    }
}
