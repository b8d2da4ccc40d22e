use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{
    sync::broadcast::{Receiver, error::TryRecvError},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::response_sender::{Outlet, Unsent};
use crate::{
    auth::{Permit, Place, Sealer},
    domain::{ProjectId, RelayError, RelayReport, RelaySeen, Secret, now, relay_output_url},
    error::{Error, Result},
    proto::v1 as pb,
    random::random_fraction,
    repositories::{Claimant, ClaimedRelay, HeldLease, RelayClaims, RelayWork},
    services::fields::timestamp,
};

/// How often to look for what no hint has told of.
const EVERY: Duration = Duration::from_secs(1);

/// How long after a look hints are gathered, so that many of them are one look.
const GATHER: Duration = Duration::from_millis(300);

/// How often a worker hears that it is still connected, if of nothing else; and
/// how long it may take to read.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Gives a worker relays as long as it listens.
pub(super) struct Claiming {
    pub claimant: Claimant,
    pub permit: Permit,
    pub claims: RelayClaims,
    pub work: RelayWork,
    pub sealer: Sealer,
    pub closing: CancellationToken,
}

/// What the worker is known to have.
#[derive(Default)]
struct Known {
    leases: HashMap<Uuid, KnownLease>,
    /// When that was last read, unless it may have changed since.
    read: Option<Instant>,
}

struct KnownLease {
    project_id: ProjectId,
    /// Whether the worker was told to give it back.
    told: bool,
}

/// Why a claim is over.
enum End {
    /// The worker has gone.
    Gone,
    /// It is to be told why.
    Because(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

impl Claiming {
    /// Answers until the worker goes, or must not or cannot go on.
    pub async fn run(self, outlet: Outlet<pb::ClaimRelaysResponse>) {
        let mut hints = self.claims.database().hints().all();
        match self.answer(&outlet, &mut hints).await {
            End::Gone => {}
            End::Because(error) => outlet.end(error),
        }
    }

    async fn answer(
        &self,
        outlet: &Outlet<pb::ClaimRelaysResponse>,
        hints: &mut Receiver<ProjectId>,
    ) -> End {
        let mut known = Known::default();
        let mut spoken: Option<Instant> = None;
        while !outlet.is_closed() {
            let looked = Instant::now();
            let message = match self.look(&mut known).await {
                Ok(message) => message,
                Err(error) => return End::Because(error),
            };
            let is_due = spoken.is_none_or(|at| at.elapsed() >= SIGN_OF_LIFE);
            let is_empty = message.assignments.is_empty() && message.revocations.is_empty();
            let given: Vec<_> = message.assignments.iter().map(lease_of).collect();
            if is_due || !is_empty {
                match outlet.send(message, SIGN_OF_LIFE).await {
                    Ok(()) => spoken = Some(Instant::now()),
                    Err(unsent) => return self.unsent(unsent, given).await,
                }
            }
            // There may be more than one look gives.
            let wait = if given.is_empty() {
                EVERY
            } else {
                Duration::ZERO
            };
            // Only between looks: what is claimed has to be sent.
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return End::Because(Error::Draining),
                () = outlet.closed() => return End::Gone,
                () = known.hinted(hints, looked + GATHER) => {}
                () = sleep(wait) => {}
            }
        }
        End::Gone
    }

    /// Nobody knows of these leases, so others need not wait until they run out.
    async fn unsent(&self, unsent: Unsent, given: Vec<Uuid>) -> End {
        match (self.give_back(given).await, unsent) {
            (Err(error), _) => End::Because(error),
            (Ok(()), Unsent::Gone) => End::Gone,
            (Ok(()), Unsent::Slow) => End::Because(Error::WatchTooSlow),
        }
    }

    async fn give_back(&self, given: Vec<Uuid>) -> Result<()> {
        let given = given.into_iter().map(RelayReport::stopped).collect();
        self.report(given).await
    }

    async fn report(&self, reports: Vec<RelayReport>) -> Result<()> {
        let worker_id = &self.claimant.worker_id;
        self.work.report(worker_id, reports, now()).await.map(drop)
    }

    /// What there is to be told now.
    async fn look(&self, known: &mut Known) -> Result<pb::ClaimRelaysResponse> {
        self.permit.check()?;
        let revocations = self.revoked(known).await?;
        let claimed = self.claims.claim(&self.claimant, now()).await?;
        let (mut assignments, mut given, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for one in claimed {
            let project_id = one.relay.project_id;
            match self.assignment(one) {
                Ok((lease_id, assignment)) => {
                    known
                        .leases
                        .insert(lease_id, KnownLease::untold(project_id));
                    given.push(lease_id);
                    assignments.push(assignment);
                }
                Err(report) => refused.push(*report),
            }
        }
        if !refused.is_empty()
            && let Err(error) = self.report(refused).await
        {
            // The worker will not hear of these. If they cannot be given back either,
            // they run out.
            let _ = self.give_back(given).await;
            return Err(error);
        }
        Ok(pb::ClaimRelaysResponse {
            assignments,
            revocations,
        })
    }

    /// The leases that the worker has no more, or is to give back, each once.
    async fn revoked(&self, known: &mut Known) -> Result<Vec<pb::RelayRevocation>> {
        if known.read.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(Vec::new());
        }
        known.read = Some(Instant::now());
        let held = self.claims.held(&self.claimant.worker_id).await?;
        let revocation = |id: Uuid| pb::RelayRevocation {
            lease_id: id.to_string(),
        };
        Ok(known.compare(held).into_iter().map(revocation).collect())
    }

    fn assignment(
        &self,
        claimed: ClaimedRelay,
    ) -> Result<(Uuid, pb::RelayAssignment), Box<RelayReport>> {
        let ClaimedRelay {
            relay,
            connection_id,
            play_url,
            url,
            stream_key_sealed,
        } = claimed;
        let lease = relay.lease.clone();
        let (lease_id, expire_time) = lease
            .map(|lease| (lease.id, timestamp(lease.expire_time)))
            .unwrap_or_default();

        let place = Place::destination_key(relay.destination_id);
        let stream_key = self.sealer.open_text(&place, &stream_key_sealed);
        let input_url = play_url.map_or(Ok(Secret::new("")), |play| {
            self.sealer
                .open_text(&Place::play_url(play.id), &play.sealed)
        });
        let (stream_key, input_url) = match (stream_key, input_url) {
            (Ok(stream_key), Ok(input_url)) => (stream_key, input_url),
            (Err(error), _) => return Err(unreadable(lease_id, "KEY_UNREADABLE", &error)),
            (_, Err(error)) => return Err(unreadable(lease_id, "PLAY_URL_UNREADABLE", &error)),
        };
        let assignment = pb::RelayAssignment {
            relay: Some(relay.into()),
            lease_id: lease_id.to_string(),
            lease_expire_time: Some(expire_time),
            input_url: input_url.expose().to_owned(),
            output_url: relay_output_url(&url, &stream_key).expose().to_owned(),
            connection_id,
        };
        Ok((lease_id, assignment))
    }
}

impl KnownLease {
    fn untold(project_id: ProjectId) -> Self {
        let told = false;
        Self { project_id, told }
    }
}

impl Known {
    /// The leases that the worker is to be told of, now that it has these.
    fn compare(&mut self, held: Vec<HeldLease>) -> Vec<Uuid> {
        let has: HashSet<_> = held.iter().map(|lease| lease.lease_id).collect();
        let mut revoked = Vec::new();
        self.leases.retain(|id, lease| {
            let stays = has.contains(id);
            if !stays && !lease.told {
                revoked.push(*id);
            }
            stays
        });
        for lease in held {
            let known = self
                .leases
                .entry(lease.lease_id)
                .or_insert(KnownLease::untold(lease.project_id));
            if lease.is_asked_back && !known.told {
                known.told = true;
                revoked.push(lease.lease_id);
            }
        }
        revoked
    }

    /// Waits for a hint, and until then for more of them; looks whether they
    /// concern a lease of the worker.
    async fn hinted(&mut self, hints: &mut Receiver<ProjectId>, until: Instant) {
        let mut next = hints.recv().await.map_err(|_| TryRecvError::Lagged(1));
        sleep_until(until).await;
        loop {
            match next {
                Ok(id) if self.leases.values().all(|lease| lease.project_id != id) => {}
                Ok(_) | Err(TryRecvError::Lagged(_)) => {
                    self.read = None;
                    *hints = hints.resubscribe();
                    return;
                }
                Err(_) => return,
            }
            next = hints.try_recv();
        }
    }
}

/// What becomes of a relay whose secrets cannot be opened here. It may pass: another
/// server may have the keys.
fn unreadable(lease_id: Uuid, code: &str, error: &Error) -> Box<RelayReport> {
    tracing::error!(
        code,
        error = error.with_causes(),
        "cannot open what a relay needs"
    );
    let message = match code {
        "KEY_UNREADABLE" => "the stream key of the destination cannot be opened",
        _ => "the address of the stream's media cannot be opened",
    };
    Box::new(RelayReport {
        seen: RelaySeen::Retrying(RelayError {
            code: code.to_owned(),
            fatal: false,
            message: message.to_owned(),
        }),
        chance: random_fraction(),
        ..RelayReport::stopped(lease_id)
    })
}

fn lease_of(assignment: &pb::RelayAssignment) -> Uuid {
    // It was written here, so it can be read.
    Uuid::try_parse(&assignment.lease_id).unwrap_or_default()
}
