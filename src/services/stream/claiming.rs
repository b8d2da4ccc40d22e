use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{
    sync::broadcast::Receiver,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::outlet::{Outlet, Unsent};
use crate::{
    auth::{Permit, Place, Sealer},
    domain::{ProjectId, RelayError, RelayReport, RelaySeen, Secret, now, relay_output_url},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{Claimant, ClaimedRelay, RelayClaims, RelayWork},
    services::fields::timestamp,
};

/// How often to look for what no hint has told of.
const EVERY: Duration = Duration::from_secs(1);

/// How long hints are gathered, so that many of them are one look.
const GATHER: Duration = Duration::from_millis(50);

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

/// The leases that the worker is known to have; whether it was told to give them back.
type Known = HashMap<Uuid, bool>;

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
        let mut known = Known::new();
        let mut spoken: Option<Instant> = None;
        while !outlet.is_closed() {
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
                _ = hints.recv() => gather(hints).await,
                () = sleep(wait) => {}
            }
        }
        End::Gone
    }

    /// Nobody knows of these leases, so others need not wait until they run out.
    async fn unsent(&self, unsent: Unsent, given: Vec<Uuid>) -> End {
        let given = given.into_iter().map(RelayReport::stopped).collect();
        let worker_id = &self.claimant.worker_id;
        match (self.work.report(worker_id, given, now()).await, unsent) {
            (Err(error), _) => End::Because(error),
            (Ok(_), Unsent::Gone) => End::Gone,
            (Ok(_), Unsent::Slow) => End::Because(Error::WatchTooSlow),
        }
    }

    /// What there is to be told now.
    async fn look(&self, known: &mut Known) -> Result<pb::ClaimRelaysResponse> {
        self.permit.check()?;
        let revocations = self.revoked(known).await?;
        let mut assignments = Vec::new();
        for claimed in self.claims.claim(&self.claimant, now()).await? {
            match self.assignment(claimed) {
                Ok((lease_id, assignment)) => {
                    known.insert(lease_id, false);
                    assignments.push(assignment);
                }
                Err((lease_id, error)) => self.refuse(lease_id, &error).await?,
            }
        }
        Ok(pb::ClaimRelaysResponse {
            assignments,
            revocations,
        })
    }

    /// The leases that the worker has no more, or is to give back, each once.
    async fn revoked(&self, known: &mut Known) -> Result<Vec<pb::RelayRevocation>> {
        let held = self.claims.held(&self.claimant.worker_id).await?;
        let has: HashSet<_> = held.iter().map(|lease| lease.lease_id).collect();
        let mut revoked = Vec::new();
        known.retain(|id, told| {
            let stays = has.contains(id);
            if !stays && !*told {
                revoked.push(*id);
            }
            stays
        });
        for lease in held {
            let told = known.entry(lease.lease_id).or_insert(false);
            if !lease.wanted && !*told {
                *told = true;
                revoked.push(lease.lease_id);
            }
        }
        let revocation = |id: Uuid| pb::RelayRevocation {
            lease_id: id.to_string(),
        };
        Ok(revoked.into_iter().map(revocation).collect())
    }

    fn assignment(
        &self,
        claimed: ClaimedRelay,
    ) -> Result<(Uuid, pb::RelayAssignment), (Uuid, Error)> {
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
            (Err(error), _) | (_, Err(error)) => return Err((lease_id, error)),
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

    /// A relay that nobody can run must not come back again and again.
    async fn refuse(&self, lease_id: Uuid, error: &Error) -> Result<()> {
        tracing::error!(
            error = error.with_causes(),
            "cannot open what a relay needs"
        );
        let report = RelayReport {
            seen: RelaySeen::Failed(RelayError {
                code: "KEY_UNREADABLE".to_owned(),
                fatal: true,
                message: "the stream key cannot be opened, set it again".to_owned(),
            }),
            ..RelayReport::stopped(lease_id)
        };
        let worker_id = &self.claimant.worker_id;
        self.work.report(worker_id, vec![report], now()).await?;
        Ok(())
    }
}

fn lease_of(assignment: &pb::RelayAssignment) -> Uuid {
    // It was written here, so it can be read.
    Uuid::try_parse(&assignment.lease_id).unwrap_or_default()
}

async fn gather(hints: &mut Receiver<ProjectId>) {
    sleep(GATHER).await;
    *hints = hints.resubscribe();
}
