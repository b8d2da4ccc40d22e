use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::{
    claim::{claim_relays, replace_worker_id},
    destination_check,
    early_inputs::play_early,
    leased_relays::LeasedRelays,
    media::Inputs,
    output::{PresetFolder, Spawner},
    relay::RelayContext,
    upstream::Certificates,
};
use crate::{
    config::EdgeConfig,
    edge::{
        control_plane::{CALL_TIMEOUT, ControlPlane},
        media_meters::MediaMeters,
        publisher::AcceptedStream,
    },
    proto::v1::{
        ClaimRelaysRequest, ClaimRelaysResponse, DestinationCheck, RelayReport,
        ReportRelaysRequest, ReportRelaysResponse, stream_service_client::StreamServiceClient,
    },
};

const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The longest time in which relays stop at shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// The number of reports that try to return the leases at shutdown.
const FINAL_REPORTS: usize = 2;

/// The most messages of the control plane that wait to be handled.
const MESSAGE_QUEUE_LENGTH: usize = 16;

/// The most checks of destinations that run at once; others are not answered.
const MAX_CHECKS: usize = 16;

/// The number of streams and destinations of which a broadcast is remembered.
const MAX_BROADCASTS: usize = 10_000;

/// A worker, which claims and runs the relays of one media server.
struct Worker {
    id: String,
    control: ControlPlane,
    context: Arc<RelayContext>,
    leased: LeasedRelays,
    /// The tasks of the relays.
    tasks: JoinSet<()>,
    /// The tasks of the checks of destinations.
    checks: JoinSet<()>,
    /// The running ReportRelays call; at most one.
    reporting: JoinSet<ReportOutcome>,
    last_report_at: Instant,
    /// Whether the last report has failed.
    is_failing: bool,
    /// Whether a relay has changed since that report.
    is_report_due: bool,
    /// Notified by the first answer after an outage.
    is_back: Arc<Notify>,
}

/// A report and its result.
type ReportOutcome = (Vec<RelayReport>, Result<ReportRelaysResponse, Status>);

/// Claims relays of a media server and runs them until `shutdown`; then stops them and
/// returns their leases. `rtmps` destinations are verified with `authorities` beside those of
/// the platform. What is measured of the media is added to `meters`. `accepted` are the streams
/// whose publishers were accepted.
pub(crate) async fn run(
    control: ControlPlane,
    node_id: String,
    config: EdgeConfig,
    authorities: Vec<CertificateDer<'static>>,
    meters: MediaMeters,
    accepted: mpsc::Receiver<AcceptedStream>,
    shutdown: CancellationToken,
) {
    let capacity = config.relay_capacity;
    let outage_grace = config.outage_grace;
    let edge_dir = config.edge_dir.clone();
    let context = match context(config, authorities, meters) {
        Ok(context) => context,
        Err(error) => {
            tracing::error!(%error, "cannot run relays");
            return;
        }
    };
    let (sender, mut messages) = mpsc::channel(MESSAGE_QUEUE_LENGTH);
    let worker_id = Uuid::now_v7().to_string();
    let previous_worker_id = replace_worker_id(&edge_dir, &node_id, &worker_id);
    let mut worker = Worker::new(worker_id, control, context, outage_grace);
    let request = ClaimRelaysRequest {
        previous_worker_id,
        worker_id: worker.id.clone(),
        node_id,
        capacity: i32::try_from(capacity).unwrap_or(i32::MAX),
        checks_destinations: true,
    };
    let is_back = Arc::clone(&worker.is_back);
    let claiming = claim_relays(worker.control.clone(), request, sender, is_back);
    let playing = play_early(accepted, Arc::clone(&worker.context));

    // The shutdown drops the claim, so that returned relays are not assigned here again.
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = claiming => {}
        never = playing => match never {},
        () = worker.run(&mut messages) => {}
    }
    // Leases in unread messages have to be returned too.
    while let Ok(message) = messages.try_recv() {
        worker.handle(message);
    }
    worker.close().await;
}

fn context(
    config: EdgeConfig,
    authorities: Vec<CertificateDer<'static>>,
    meters: MediaMeters,
) -> io::Result<RelayContext> {
    let certificates = Arc::new(Certificates::new(authorities));
    Ok(RelayContext {
        spawner: Spawner::start()?,
        presets: PresetFolder::new(&config.edge_dir)?,
        policy: config.url_policy(),
        inputs: Inputs::new(Arc::clone(&certificates), meters),
        certificates,
        broadcasts: Cache::new(MAX_BROADCASTS),
        state_changed: Notify::new(),
        ffmpeg: config.ffmpeg,
        patience: config.relay_progress_timeout,
    })
}

impl Worker {
    fn new(
        id: String,
        control: ControlPlane,
        context: RelayContext,
        outage_grace: Duration,
    ) -> Self {
        let leased = LeasedRelays::new(outage_grace);
        Self {
            id,
            control,
            context: Arc::new(context),
            leased,
            tasks: JoinSet::new(),
            checks: JoinSet::new(),
            reporting: JoinSet::new(),
            last_report_at: Instant::now(),
            is_failing: false,
            is_report_due: false,
            is_back: Arc::default(),
        }
    }

    /// Handles messages and events until it is dropped.
    async fn run(&mut self, messages: &mut mpsc::Receiver<ClaimRelaysResponse>) {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(message) = messages.recv() => self.handle(message),
                () = self.next_event() => {}
                _ = checks.tick() => {
                    let now = Instant::now();
                    self.leased.stop_overdue(now);
                    self.context.inputs.close_idle(now);
                    self.leased.update_metrics();
                    if self.last_report_at.elapsed() >= self.leased.report_interval() {
                        self.report();
                    }
                }
            }
        }
    }

    fn handle(&mut self, message: ClaimRelaysResponse) {
        let ClaimRelaysResponse {
            assignments,
            revocations,
            destination_checks,
        } = message;
        for assigned in assignments {
            if let Some(relay) = self.leased.assign(assigned, Instant::now()) {
                let context = Arc::clone(&self.context);
                self.tasks.spawn(async move { relay.run(&context).await });
            }
        }
        for revoked in revocations {
            let drain = revoked.drain_timeout;
            let drain_timeout = drain.and_then(|timeout| timeout.try_into().ok());
            self.leased
                .revoke(&revoked.lease_id, drain_timeout, Instant::now());
        }
        for check in destination_checks {
            self.check_destination(check);
        }
    }

    /// Checks a destination in the background, and reports the result.
    fn check_destination(&mut self, check: DestinationCheck) {
        while self.checks.try_join_next().is_some() {}
        if self.checks.len() >= MAX_CHECKS {
            tracing::warn!("too many destinations to check, leaving one out");
            return;
        }
        let (context, control) = (Arc::clone(&self.context), self.control.clone());
        let worker_id = self.id.clone();
        self.checks.spawn(async move {
            let report = destination_check::run(check, &context).await;
            let message = ReportRelaysRequest {
                worker_id,
                reports: Vec::new(),
                destination_checks: vec![report],
            };
            let report = StreamServiceClient::report_relays;
            if let Err(status) = control.call(Some(CALL_TIMEOUT), message, report).await {
                let (code, reason) = (status.code(), status.message());
                tracing::warn!(?code, reason, "cannot report the check of a destination");
            }
        });
    }

    /// Waits for the next event of a relay or a report, and handles it.
    async fn next_event(&mut self) {
        tokio::select! {
            Some(outcome) = self.reporting.join_next() => self.report_done(outcome.ok()),
            Some(_) = self.tasks.join_next() => {}
            () = self.context.state_changed.notified() => self.report(),
        }
    }

    /// Reports all relays, now or after the running call.
    fn report(&mut self) {
        self.is_report_due = !self.reporting.is_empty();
        if self.is_report_due {
            return;
        }
        self.last_report_at = Instant::now();
        let reports = self.leased.reports();
        if reports.is_empty() {
            return;
        }
        let call_timeout = self.leased.report_timeout();
        let control = self.control.clone();
        let message = ReportRelaysRequest {
            worker_id: self.id.clone(),
            reports: reports.clone(),
            destination_checks: Vec::new(),
        };
        self.reporting.spawn(async move {
            let report = StreamServiceClient::report_relays;
            let answer = control.call(Some(call_timeout), message, report).await;
            (reports, answer)
        });
    }

    fn report_done(&mut self, outcome: Option<ReportOutcome>) {
        match outcome {
            Some((reports, Ok(answer))) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("relays are reported again");
                }
                let (sent_at, now) = (self.last_report_at, Instant::now());
                let is_back = self.leased.apply_answer(&reports, &answer, sent_at, now);
                if is_back {
                    self.is_back.notify_one();
                }
            }
            Some((_, Err(status))) => {
                let (code, reason) = (status.code(), status.message());
                // Each failure of an outage is one of a series: the first is enough.
                match self.is_failing {
                    false => tracing::warn!(?code, reason, "cannot report relays, trying again"),
                    true => tracing::debug!(?code, reason, "cannot report relays"),
                }
                self.is_failing = true;
                self.leased.report_failed(code);
            }
            // The task has panicked.
            None => {}
        }
        if self.is_report_due {
            self.report();
        }
    }

    async fn close(&mut self) {
        self.leased.stop_all();
        let stopping = async {
            while !self.leased.all_over() {
                self.next_event().await;
            }
        };
        if timeout(STOP_TIMEOUT, stopping).await.is_err() {
            tracing::warn!("some relays did not stop in time");
        }
        for _ in 0..FINAL_REPORTS {
            if self.leased.is_empty() {
                return;
            }
            self.report();
            while let Some(outcome) = self.reporting.join_next().await {
                self.report_done(outcome.ok());
            }
        }
    }
}
