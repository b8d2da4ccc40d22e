use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::{
    assignments::Roster,
    claim::Claiming,
    relay::{self, Shared},
    settings::RelayTerms,
    spawner::Spawner,
};
use crate::{
    edge::ControlPlane,
    proto::v1::{
        ClaimRelaysRequest, ClaimRelaysResponse, RelayReport, ReportRelaysRequest,
        ReportRelaysResponse,
    },
};

/// How often to look whether a relay must not run any longer, and whether reports that were
/// not answered are to be repeated.
const LOOK: Duration = Duration::from_millis(250);

/// How long relays may take to stop when the edge does.
const CLOSING: Duration = Duration::from_secs(8);

/// How often it is tried to give relays back then.
const LAST_REPORTS: usize = 2;

/// How many answers may wait to be read.
const UNREAD: usize = 16;

/// One run of a worker.
struct Worker {
    id: String,
    control: ControlPlane,
    shared: Arc<Shared>,
    roster: Roster,
    relays: JoinSet<()>,
    /// The report that is on its way; one at a time.
    reporting: JoinSet<Reported>,
    reported: Instant,
    /// Whether something has changed since that was sent.
    is_due: bool,
    /// Told when a report is answered after one that was not.
    is_back: Arc<Notify>,
}

/// What was reported, and what became of it.
struct Reported {
    reports: Vec<RelayReport>,
    answer: Result<ReportRelaysResponse, Status>,
}

/// Claims relays of a media server and runs them until `shutdown`; then stops them and
/// gives them back.
pub(crate) async fn run(
    control: ControlPlane,
    node_id: String,
    terms: RelayTerms,
    shutdown: CancellationToken,
) {
    let spawner = match Spawner::start() {
        Ok(spawner) => spawner,
        Err(error) => {
            tracing::error!(%error, "cannot run relays");
            return;
        }
    };
    let (told, mut heard) = mpsc::channel(UNREAD);
    let mut worker = Worker::new(control, terms, spawner);
    let claiming = Claiming {
        control: worker.control.clone(),
        request: worker.request(node_id),
        told,
        is_back: Arc::clone(&worker.is_back),
    };

    // Dropped at shutdown: else relays that are given back could be given again.
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = claiming.run() => {}
        () = worker.work(&mut heard) => {}
    }
    // Leases that nobody knows of would be nobody's until they run out.
    while let Ok(message) = heard.try_recv() {
        worker.take(message);
    }
    worker.close().await;
}

impl Worker {
    fn new(control: ControlPlane, terms: RelayTerms, spawner: Spawner) -> Self {
        let roster = Roster::new(terms.outage_grace);
        let shared = Shared {
            terms,
            spawner,
            changed: Notify::new(),
        };
        Self {
            id: Uuid::now_v7().to_string(),
            control,
            shared: Arc::new(shared),
            roster,
            relays: JoinSet::new(),
            reporting: JoinSet::new(),
            reported: Instant::now(),
            is_due: false,
            is_back: Arc::default(),
        }
    }

    fn request(&self, node_id: String) -> ClaimRelaysRequest {
        ClaimRelaysRequest {
            worker_id: self.id.clone(),
            node_id,
            capacity: i32::try_from(self.shared.terms.capacity).unwrap_or(i32::MAX),
        }
    }

    /// Does what it is told, and tells what is done.
    async fn work(&mut self, heard: &mut mpsc::Receiver<ClaimRelaysResponse>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(message) = heard.recv() => self.take(message),
                () = self.next() => {}
                _ = looks.tick() => {
                    self.roster.stop_overdue(Instant::now());
                    if self.reported.elapsed() >= self.roster.pace() {
                        self.report();
                    }
                }
            }
        }
    }

    /// Starts and stops relays.
    fn take(&mut self, message: ClaimRelaysResponse) {
        let ClaimRelaysResponse {
            assignments,
            revocations,
        } = message;
        for assignment in assignments {
            if let Some(start) = self.roster.assign(assignment, Instant::now()) {
                let shared = Arc::clone(&self.shared);
                self.relays
                    .spawn(async move { relay::run(start, &shared).await });
            }
        }
        for revocation in revocations {
            self.roster.revoke(&revocation.lease_id);
        }
    }

    /// The next thing that a relay does, or that becomes of a report.
    async fn next(&mut self) {
        tokio::select! {
            Some(reported) = self.reporting.join_next() => self.answered(reported.ok()),
            Some(_) = self.relays.join_next() => {}
            () = self.shared.changed.notified() => self.report(),
        }
    }

    /// Reports all relays, now or when the report that is on its way is answered.
    fn report(&mut self) {
        self.is_due = !self.reporting.is_empty();
        if self.is_due {
            return;
        }
        self.reported = Instant::now();
        let reports = self.roster.reports();
        if reports.is_empty() {
            return;
        }
        let patience = self.roster.patience();
        let control = self.control.clone();
        let message = ReportRelaysRequest {
            worker_id: self.id.clone(),
            reports: reports.clone(),
        };
        self.reporting.spawn(async move {
            let call = control.call(Some(patience), message, |mut client, request| async move {
                client.report_relays(request).await
            });
            let late = || Err(Status::deadline_exceeded("the control plane is silent"));
            let answer = timeout(patience, call).await.unwrap_or_else(|_| late());
            Reported { reports, answer }
        });
    }

    fn answered(&mut self, reported: Option<Reported>) {
        match reported {
            Some(Reported {
                reports,
                answer: Ok(answer),
            }) => {
                let was_away = self.roster.answered(&reports, &answer, Instant::now());
                if was_away {
                    self.is_back.notify_one();
                }
            }
            Some(Reported {
                answer: Err(status),
                ..
            }) => {
                let (code, reason) = (status.code(), status.message());
                tracing::warn!(?code, reason, "cannot report relays");
                self.roster.unanswered(code);
            }
            None => {}
        }
        if self.is_due {
            self.report();
        }
    }

    /// Stops all relays and gives them back.
    async fn close(&mut self) {
        self.roster.stop();
        let stopping = async {
            while !self.roster.is_over() {
                self.next().await;
            }
        };
        if timeout(CLOSING, stopping).await.is_err() {
            tracing::warn!("some relays did not stop in time");
        }
        for _ in 0..LAST_REPORTS {
            if self.roster.is_empty() {
                return;
            }
            self.report();
            while let Some(reported) = self.reporting.join_next().await {
                self.answered(reported.ok());
            }
        }
    }
}
