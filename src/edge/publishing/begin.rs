use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout, timeout_at};
use tonic::Status;

use super::{
    connection_state::Grant, error_class::Verdict, publishers::Publishing, registry::Proposal,
    sanitize,
};
use crate::{
    edge::connection::{ConnectionId, Offer, Refused},
    proto::v1::{
        BeginPublishRequest, BeginPublishResponse, ErrorReason, HeartbeatPublishRequest,
        PublishAction, Publisher, stream_service_client::StreamServiceClient,
    },
    random::random_fraction,
};

/// How long a publisher waits for its answer: media servers give up after 10 seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(8);

/// How long one call may take, so that there is time for another.
const CALL: Duration = Duration::from_secs(5);

/// How long the rest of the time must be for another call.
const LEAST: Duration = Duration::from_secs(1);

/// How long to wait before another call, on average.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one that was taken over may take to go, and how often that is looked at.
const GOING: Duration = Duration::from_secs(3);
const GONE: Duration = Duration::from_millis(50);

/// How long to wait for ends to be told.
const ENDS: Duration = Duration::from_secs(1);

/// For how long a look at the media server is new enough to know its run.
const FRESH: Duration = Duration::from_millis(500);

/// How long to wait for a newer one: some media servers say nothing while they wait for
/// the answer to a hook.
const LOOK: Duration = Duration::from_millis(500);

impl Publishing {
    /// Asks in time whether a connection may publish. A question whose answer never came
    /// may have been heard: the next report, which lacks the connection, takes it back.
    pub(super) async fn ask(&self, offer: &Offer) -> Result<(), Refused> {
        let deadline = Instant::now() + LIMIT;
        let asked = timeout_at(deadline.into(), self.ask_until(offer, deadline)).await;
        let answer = asked.unwrap_or(Err(Refused::Away));
        if let Err(refused) = answer {
            self.registry().refuse(&offer.id, Instant::now());
            if refused == Refused::Away {
                self.inner.report.notify_one();
            }
        }
        answer
    }

    async fn ask_until(&self, offer: &Offer, deadline: Instant) -> Result<(), Refused> {
        self.know_boot().await;
        let boot_id = {
            let _begun = self.inner.gate.lock().await;
            let mut registry = self.registry();
            let boot_id = registry.boot_id().ok_or(Refused::Away)?.to_owned();
            match registry.propose(offer, Instant::now())? {
                Proposal::Granted => return Ok(()),
                Proposal::Ask => boot_id,
            }
        };
        let stream = self.request(offer, &boot_id, deadline).await?.stream;
        let stream = stream.unwrap_or_default();
        let grant = Grant {
            stream_id: stream.id,
            epoch: stream.epoch,
            boot_id,
        };

        let accepted = self.registry().accept(&offer.id, grant, Instant::now());
        if accepted.is_ok() && self.registry().take_over(&offer.id) {
            self.inner.kick.notify_one();
        }
        match accepted {
            Ok(true) => self.tell_media(&offer.id),
            Ok(false) => {}
            Err(ended) => self.tell_ends([ended]),
        }
        Ok(())
    }

    /// Waits until whoever published with the key of one that was accepted has gone, but
    /// not for long.
    pub(super) async fn without_rivals(&self, id: &ConnectionId, deadline: Instant) {
        let gone = async {
            while self.registry().has_rivals(id) {
                sleep(GONE).await;
            }
        };
        // Then the media server decides.
        let deadline = deadline.min(Instant::now() + GOING);
        let _ = timeout_at(deadline.into(), gone).await;
    }

    /// Waits a little for a look at the media server, so that the connection is not filed
    /// under a run that is over.
    async fn know_boot(&self) {
        let now = Instant::now();
        let mut sight = self.inner.sight.subscribe();
        let seen = *sight.borrow_and_update();
        if seen.at.is_some_and(|at| now.duration_since(at) < FRESH) {
            return;
        }
        self.inner.look.notify_one();
        // Without any there is nothing to go by.
        let patience = if seen.at.is_none() { LIMIT } else { LOOK };
        if seen.at.is_none() || seen.is_up {
            let newer = sight.wait_for(|seen| seen.at.is_some_and(|at| at >= now));
            let _ = timeout(patience, newer).await;
        }
    }

    async fn request(
        &self,
        offer: &Offer,
        boot_id: &str,
        deadline: Instant,
    ) -> Result<BeginPublishResponse, Refused> {
        let mut ending = self.inner.ending.subscribe();
        let mut ends = *ending.borrow() > 0;
        let mut is_last = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let status = match self.call(offer, boot_id, left.min(CALL)).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            ends |= *ending.borrow() > 0;
            let wait = match Verdict::of(&status) {
                // The one in the way may be gone: the control plane is being told.
                Verdict::No(ErrorReason::PublishConflict) if ends && !is_last => {
                    let told = ending.wait_for(|number| *number == 0);
                    let _ = timeout(ENDS, told).await;
                    Duration::ZERO
                }
                Verdict::No(reason) => return Err(self.no(reason)),
                Verdict::Locked => return Err(Refused::Away),
                Verdict::Later(wait) => wait.unwrap_or(PAUSE.mul_f64(0.5 + random_fraction())),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if is_last || wait + LEAST > left {
                return Err(Refused::Away);
            }
            is_last = true;
            sleep(wait).await;
        }
    }

    fn no(&self, reason: ErrorReason) -> Refused {
        if reason == ErrorReason::NodeSuperseded {
            self.superseded();
        }
        Refused::Answered(reason)
    }

    async fn call(
        &self,
        offer: &Offer,
        boot_id: &str,
        limit: Duration,
    ) -> Result<BeginPublishResponse, Status> {
        let request = BeginPublishRequest {
            stream_key: offer.stream_key.expose().to_owned(),
            publisher: Some(Publisher {
                peer_address: sanitize::peer(&offer.peer_address),
                protocol: offer.protocol.into(),
                ..self.publisher(boot_id, &offer.id)
            }),
            media_flowing: false,
            play_url: sanitize::url(&offer.play_url),
        };
        let begin = |mut client: StreamServiceClient<_>, request| async move {
            client.begin_publish(request).await
        };
        self.inner.control.call(Some(limit), request, begin).await
    }

    /// Tells the control plane of the media of a connection, as the reports that follow do.
    pub(super) fn tell_media(&self, id: &ConnectionId) {
        // Whoever stands in line is told of when it is its turn.
        if !self.registry().begin_telling(id) {
            return;
        }
        let (publishing, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            if let Ok(_turn) = publishing.inner.telling.acquire().await {
                publishing.heartbeat(&id).await;
            }
            publishing.registry().end_telling(&id);
        });
    }

    async fn heartbeat(&self, id: &ConnectionId) {
        let Some(grant) = self.registry().grant(id) else {
            return;
        };
        let request = HeartbeatPublishRequest {
            publisher: Some(self.publisher(&grant.boot_id, id)),
            stream_id: grant.stream_id,
            epoch: grant.epoch,
            stats: self.registry().stats(id, Instant::now()),
        };
        let heartbeat = |mut client: StreamServiceClient<_>, request| async move {
            client.heartbeat_publish(request).await
        };
        let heard = self
            .inner
            .control
            .call(Some(CALL), request, heartbeat)
            .await;
        let Ok(answer) = heard else { return };
        self.heard();
        if answer.action() == PublishAction::Stop {
            self.registry().condemn(id, answer.stop_reason());
            self.inner.kick.notify_one();
        }
    }
}
