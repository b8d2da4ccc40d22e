use std::time::{Duration, Instant};

use tokio::time::sleep;
use tonic::Status;

use super::{end::pause, error_class::Verdict, publishers::Publishing, sync_report::Report};
use crate::proto::v1::{ErrorReason, SyncNodeResponse, stream_service_client::StreamServiceClient};

/// How long a report may take: begins wait for it.
const CALL: Duration = Duration::from_secs(5);

/// How often to report until the control plane has said it.
const EVERY: Duration = Duration::from_secs(5);

/// How close reports follow each other at most.
const APART: Duration = Duration::from_millis(200);

impl Publishing {
    /// Reports all connections as often as the control plane wants it, and when somebody
    /// asks for it; but not while the media server does not answer: then nobody knows
    /// who is alive.
    pub(super) async fn report(&self) {
        let mut failures = 0;
        loop {
            let mut sight = self.inner.sight.subscribe();
            if sight.wait_for(|sight| sight.is_up).await.is_err() {
                return;
            }
            match self.sync().await {
                Ok(interval) => {
                    failures = 0;
                    sleep(APART).await;
                    tokio::select! {
                        () = sleep(interval.saturating_sub(APART)) => {}
                        () = self.inner.report.notified() => {}
                    }
                }
                Err(()) => {
                    sleep(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// One report: after how long the next one is wanted.
    async fn sync(&self) -> Result<Duration, ()> {
        let _alone = self.inner.gate.lock().await;
        let report = self.registry().report(&self.inner.node_id).ok_or(())?;
        match self.sync_node(&report).await {
            Ok(answer) => Ok(self.heed(&report, answer)),
            Err(status) => {
                self.complain(&status);
                Err(())
            }
        }
    }

    async fn sync_node(&self, report: &Report) -> Result<SyncNodeResponse, Status> {
        let sync = |mut client: StreamServiceClient<_>, request| async move {
            client.sync_node(request).await
        };
        let message = report.message.clone();
        self.inner.control.call(Some(CALL), message, sync).await
    }

    fn heed(&self, report: &Report, answer: SyncNodeResponse) -> Duration {
        let interval = answer.heartbeat_interval;
        let interval = interval.and_then(|interval| interval.try_into().ok());
        let kicks = answer.kicks.len();
        self.heard();
        let ended = self.registry().answered(report, answer, Instant::now());
        self.tell_ends(ended);
        if kicks > 0 {
            self.inner.kick.notify_one();
        }
        let interval: Duration = interval.unwrap_or(EVERY);
        interval.clamp(APART, Duration::from_mins(5))
    }

    /// The control plane has answered.
    pub(super) fn heard(&self) {
        if self.registry().heard(Instant::now()) {
            tracing::info!("the control plane answers again");
        }
    }

    fn complain(&self, status: &Status) {
        let verdict = Verdict::of(status);
        // It answers: who is live may stay so.
        if let Verdict::No(reason) = verdict
            && reason != ErrorReason::NodeSuperseded
        {
            let reason = reason.as_str_name();
            tracing::error!(reason, "the control plane refuses the report of publishers");
            return;
        }
        let is_new = self.registry().unanswered(Instant::now());
        match verdict {
            Verdict::No(_) if is_new => self.superseded(),
            Verdict::Later(_) if is_new => {
                let code = status.code();
                tracing::warn!(
                    ?code,
                    "the control plane does not answer, live publishers go on for now"
                );
            }
            _ => {}
        }
    }

    /// What an operator has to put right.
    pub(super) fn superseded(&self) {
        let node_id = &self.inner.node_id;
        tracing::error!(
            node_id,
            "another media server reports with this node id (SLUICE_NODE_ID): two cannot share one"
        );
    }
}
