use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::response_sender::{ResponseSender, StreamEnd};
use crate::{
    auth::{AssociatedData, CallAuthorization, Sealer},
    check_dispatch::CheckQueue,
    claim_dispatch::{ClaimNews, ClaimWaker},
    domain::{
        ApiKeyId, OutagePolicy, RelayError, RelayReport, RelayState, ReportedState, Secret, Time,
        now, relay_output_url, relay_server_url,
    },
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{ClaimedRelay, ClaimingWorker, RelayLeases, StoredCheck, WorkerLease},
    services::fields::{duration, remaining, timestamp},
};

/// How often the authorization of the call is checked, which takes no statement.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest interval between two reads of the leases, whatever wakes the session.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// The longest interval between two messages.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is recorded that the worker claims.
const RECORD_INTERVAL: Duration = Duration::from_mins(1);

/// One ClaimRelays call: grants relays to a worker and revokes them.
pub(super) struct ClaimSession {
    pub worker: ClaimingWorker,
    /// The operator key of the call.
    pub key: ApiKeyId,
    pub authorization: CallAuthorization,
    pub relay_leases: RelayLeases,
    /// Tells when there is something to claim or to return.
    pub waker: ClaimWaker,
    pub sealer: Sealer,
    /// The checks of destinations for the worker; `None` if it takes none.
    pub checks: Option<CheckQueue>,
    pub closing: CancellationToken,
}

/// The leases of the worker, as far as this session knows them.
#[derive(Default)]
struct SessionLeases {
    by_id: HashMap<Uuid, TrackedLease>,
    /// When they were last read; `None` if they have changed since.
    read: Option<Instant>,
    /// What they took of the capacity of the worker then.
    used: i64,
}

#[derive(Default)]
struct TrackedLease {
    /// What the worker was told last in this session; `None` if another session told it.
    told: Option<RelayInput>,
    /// How the worker was asked to return it, if it was.
    revoked: Option<Revocation>,
}

/// How a worker has to return a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Revocation {
    /// At once.
    Stop,
    /// After it has sent what the delay holds back, until this time.
    Drain(Time),
}

/// What may change while a worker runs a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RelayInput {
    /// The number of the publishing connection.
    epoch: i64,
    outage_policy: OutagePolicy,
}

/// The changes of a worker's leases since they were last read.
#[derive(Default)]
struct LeaseChanges {
    /// Those that the worker has lost or has to return.
    revoked: Vec<(Uuid, Revocation)>,
    /// Those whose relays continue with another input or policy.
    changed: Vec<Uuid>,
}

impl ClaimSession {
    /// Runs until the worker closes the stream or an error ends it.
    pub async fn run(mut self, sender: ResponseSender<pb::ClaimRelaysResponse>) {
        let mut checks = self.checks.take();
        let Err(end) = self.serve(&sender, &mut checks).await;
        if let StreamEnd::Error(error) = end {
            sender.end(error);
        }
    }

    async fn serve(
        &self,
        sender: &ResponseSender<pb::ClaimRelaysResponse>,
        checks: &mut Option<CheckQueue>,
    ) -> Result<Infallible, StreamEnd> {
        let mut leases = SessionLeases::default();
        let mut last_sent: Option<Instant> = None;
        // The call has recorded it.
        let mut recorded = Instant::now();
        let mut check: Option<StoredCheck> = None;
        let mut news = ClaimNews::ALL;
        // Whether the last poll has granted relays.
        let mut claims = false;
        while !sender.is_closed() {
            let (mut message, granted) = self.poll(&mut leases, news).await?;
            let is_due = last_sent.is_none_or(|at| at.elapsed() >= KEEPALIVE_INTERVAL);
            message.destination_checks = check.take().map(check_message).into_iter().collect();
            let is_empty = message.assignments.is_empty()
                && message.revocations.is_empty()
                && message.destination_checks.is_empty();
            if is_due || !is_empty {
                if let Err(end) = sender.send(message).await {
                    // Others need not wait for the expiry of leases that the worker never received.
                    self.return_leases(granted).await?;
                    return Err(end);
                }
                last_sent = Some(Instant::now());
            }
            if recorded.elapsed() >= RECORD_INTERVAL {
                self.record_worker().await?;
                recorded = Instant::now();
            }
            let has_claimed = std::mem::replace(&mut claims, !granted.is_empty());
            if has_claimed && granted.is_empty() && leases.used >= self.worker.capacity {
                self.waker.pass_on();
            }
            // A poll grants a limited number of relays: there may be more.
            let wait = match granted.is_empty() {
                true => CHECK_INTERVAL,
                false => Duration::ZERO,
            };
            // Not during a poll, because claimed relays have to be sent.
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return Err(Error::Draining.into()),
                () = sender.closed() => return Err(StreamEnd::Closed),
                next = next_check(checks) => check = Some(next),
                () = self.waker.woken() => {}
                () = sleep(wait) => {}
            }
            let woken = self.waker.take_news();
            news = match granted.is_empty() {
                true => woken,
                false => ClaimNews::ALL,
            };
        }
        Err(StreamEnd::Closed)
    }

    /// Records that the worker still claims, for operators.
    async fn record_worker(&self) -> Result<()> {
        let bound = self.authorization.caller().bound_node();
        let (worker, leases) = (&self.worker, &self.relay_leases);
        leases.record_worker(worker, self.key, bound, now()).await
    }

    async fn return_leases(&self, granted: Vec<Uuid>) -> Result<()> {
        let granted = granted.into_iter().map(RelayReport::stopped).collect();
        self.report(granted).await
    }

    async fn report(&self, reports: Vec<RelayReport>) -> Result<()> {
        let worker_id = &self.worker.worker_id;
        self.relay_leases.report(worker_id, reports, now()).await?;
        Ok(())
    }

    /// The next message, with new assignments and revocations, and the leases it grants.
    async fn poll(
        &self,
        leases: &mut SessionLeases,
        news: ClaimNews,
    ) -> Result<(pb::ClaimRelaysResponse, Vec<Uuid>)> {
        self.authorization.check()?;
        if news.leases {
            leases.read = None;
        }
        let is_due = leases.read.is_none_or(|at| at.elapsed() >= READ_INTERVAL);
        let LeaseChanges { revoked, changed } = match is_due {
            true => self.lease_changes(leases).await?,
            false => LeaseChanges::default(),
        };
        let running = self.running(changed).await?;
        // Changed leases may have left capacity.
        let claims = (news.claimable || is_due) && !self.waker.is_replaced();
        let claimed = match claims {
            true => {
                let (worker, used) = (&self.worker, leases.used);
                self.relay_leases.claim(worker, used, now()).await?
            }
            false => Vec::new(),
        };
        let (mut assignments, mut granted, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for one in running {
            match self.assignment(one) {
                Ok((_, assignment)) => assignments.push(assignment),
                Err(report) => unreadable.push(*report),
            }
        }
        for one in claimed {
            let input = RelayInput::of(&one);
            match self.assignment(one) {
                Ok((lease_id, assignment)) => {
                    leases.track(lease_id).told = Some(input);
                    granted.push(lease_id);
                    assignments.push(assignment);
                }
                Err(report) => unreadable.push(*report),
            }
        }
        if !unreadable.is_empty()
            && let Err(error) = self.report(unreadable).await
        {
            // The worker will not receive these. If they cannot be returned either, they expire.
            let _ = self.return_leases(granted).await;
            return Err(error);
        }
        let message = pb::ClaimRelaysResponse {
            assignments,
            revocations: revoked.into_iter().map(revocation_message).collect(),
            destination_checks: Vec::new(),
        };
        Ok((message, granted))
    }

    /// The changes of the leases that the worker has to be told, each once.
    async fn lease_changes(&self, leases: &mut SessionLeases) -> Result<LeaseChanges> {
        leases.read = Some(Instant::now());
        let worker_id = &self.worker.worker_id;
        let held = self.relay_leases.list_leases(worker_id, now()).await?;
        let projects = held.iter().map(|lease| lease.project_id).collect();
        let changes = leases.update(held);
        self.waker.set_leases(projects, leases.used);
        Ok(changes)
    }

    /// The relays of leases that the worker still holds.
    async fn running(&self, leases: Vec<Uuid>) -> Result<Vec<ClaimedRelay>> {
        let mut running = Vec::new();
        for lease_id in leases {
            let relay = self
                .relay_leases
                .claimed(&self.worker.worker_id, lease_id)
                .await?;
            running.extend(relay);
        }
        Ok(running)
    }

    fn assignment(
        &self,
        claimed: ClaimedRelay,
    ) -> Result<(Uuid, pb::RelayAssignment), Box<RelayReport>> {
        let ClaimedRelay {
            relay,
            connection_id,
            epoch: _,
            play_url,
            url,
            stream_key_sealed,
            srt_passphrase_sealed,
            srt_pbkeylen,
            outage_policy,
            delay,
            max_video_bitrate_kbps,
            max_height,
        } = claimed;
        let lease = relay.lease.clone();
        let (lease_id, expire_time) = lease
            .map(|lease| (lease.id, lease.expire_time))
            .unwrap_or_default();

        let associated_data = AssociatedData::destination_key(relay.destination_id);
        let is_proven = relay.is_proven;
        let stream_key = self.sealer.open_text(&associated_data, &stream_key_sealed);
        let passphrase = srt_passphrase_sealed.map_or(Ok(Secret::new("")), |sealed| {
            let associated_data = AssociatedData::srt_passphrase(relay.destination_id);
            self.sealer.open_text(&associated_data, &sealed)
        });
        let input_url = play_url.map_or(Ok(Secret::new("")), |play| {
            self.sealer
                .open_text(&AssociatedData::play_url(play.id), &play.sealed)
        });
        let unreadable =
            |code: &'static str| move |error: Error| unreadable_secret(lease_id, code, &error);
        let stream_key = stream_key.map_err(unreadable("KEY_UNREADABLE"))?;
        let passphrase = passphrase.map_err(unreadable("SRT_PASSPHRASE_UNREADABLE"))?;
        let input_url = input_url.map_err(unreadable("PLAY_URL_UNREADABLE"))?;
        let assignment = pb::RelayAssignment {
            relay: Some(relay.into()),
            lease_id: lease_id.to_string(),
            lease_expire_time: Some(timestamp(expire_time)),
            lease_duration: Some(duration(remaining(expire_time))),
            input_url: input_url.expose().to_owned(),
            output_url: relay_output_url(&url, &stream_key).expose().to_owned(),
            connection_id,
            output_server_url: relay_server_url(&url).to_owned(),
            output_stream_key: stream_key.expose().to_owned(),
            srt_passphrase: passphrase.expose().to_owned(),
            srt_pbkeylen,
            outage_policy: pb::OutagePolicy::from(outage_policy).into(),
            output_delay: Some(duration(delay.as_duration())),
            max_video_bitrate_kbps,
            max_height,
            has_broadcast: is_proven,
        };
        Ok((lease_id, assignment))
    }
}

impl RelayInput {
    fn of(claimed: &ClaimedRelay) -> Self {
        Self {
            epoch: claimed.epoch,
            outage_policy: claimed.outage_policy,
        }
    }

    /// Whether a worker must be told, who was told something else, or something unknown.
    fn is_news_after(self, told: Option<Self>) -> bool {
        match told {
            None => self.outage_policy == OutagePolicy::Hold,
            Some(told) if told.outage_policy == self.outage_policy => {
                self.outage_policy == OutagePolicy::Hold && told.epoch != self.epoch
            }
            Some(_) => true,
        }
    }
}

impl Revocation {
    /// How a lease has to be returned; `None` if the relay continues.
    fn of(lease: &WorkerLease) -> Option<Self> {
        match lease.state {
            RelayState::Stopping => Some(Self::Stop),
            RelayState::Draining => Some(Self::Drain(lease.ready_time)),
            _ => None,
        }
    }
}

impl SessionLeases {
    fn track(&mut self, id: Uuid) -> &mut TrackedLease {
        self.by_id.entry(id).or_default()
    }

    /// Updates the leases from the database. Returns what the worker has to be told.
    fn update(&mut self, held: Vec<WorkerLease>) -> LeaseChanges {
        self.used = held.iter().map(|lease| lease.cost).sum();
        let has: HashSet<_> = held.iter().map(|lease| lease.lease_id).collect();
        let (mut revoked, mut changed) = (Vec::new(), Vec::new());
        self.by_id.retain(|id, lease| {
            let stays = has.contains(id);
            if !stays && lease.revoked != Some(Revocation::Stop) {
                revoked.push((*id, Revocation::Stop));
            }
            stays
        });
        for lease in held {
            let tracked = self.track(lease.lease_id);
            let input = RelayInput {
                epoch: lease.epoch,
                outage_policy: lease.outage_policy,
            };
            if let Some(revocation) = Revocation::of(&lease) {
                if tracked.revoked.replace(revocation) != Some(revocation) {
                    revoked.push((lease.lease_id, revocation));
                }
            } else if input.is_news_after(tracked.told.replace(input)) {
                changed.push(lease.lease_id);
            }
        }
        LeaseChanges { revoked, changed }
    }
}

/// The next check; never one if the worker takes none.
async fn next_check(checks: &mut Option<CheckQueue>) -> StoredCheck {
    match checks {
        Some(checks) => checks.next().await,
        None => std::future::pending().await,
    }
}

fn revocation_message((lease_id, revocation): (Uuid, Revocation)) -> pb::RelayRevocation {
    pb::RelayRevocation {
        lease_id: lease_id.to_string(),
        drain_timeout: match revocation {
            Revocation::Stop => None,
            Revocation::Drain(until) => Some(duration(remaining(until))),
        },
    }
}

fn check_message(check: StoredCheck) -> pb::DestinationCheck {
    let StoredCheck {
        id,
        node_id: _,
        server_url,
        expire_time,
    } = check;
    pb::DestinationCheck {
        check_id: id.to_string(),
        server_url,
        timeout: Some(duration(remaining(expire_time))),
    }
}

/// The report for a relay whose secrets cannot be opened. It is retried: another server may have
/// the keys.
fn unreadable_secret(lease_id: Uuid, code: &str, error: &Error) -> Box<RelayReport> {
    tracing::error!(
        code,
        error = error.with_causes(),
        "cannot open the secrets of a relay"
    );
    let message = match code {
        "KEY_UNREADABLE" => "the stream key of the destination cannot be opened",
        "SRT_PASSPHRASE_UNREADABLE" => "the SRT passphrase of the destination cannot be opened",
        _ => "the address of the stream's media cannot be opened",
    };
    Box::new(RelayReport {
        state: ReportedState::Retrying(RelayError {
            code: code.to_owned(),
            fatal: false,
            message: message.to_owned(),
        }),
        ..RelayReport::stopped(lease_id)
    })
}
