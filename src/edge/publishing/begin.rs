use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout, timeout_at},
};

use super::{
    publishers::Publishers, registry::BeginStep, sanitize, tracked_connection::AcceptedPublish,
};
use crate::{
    domain::Secret,
    edge::{
        control_plane::CALL_TIMEOUT,
        error_class::ErrorClass,
        publisher::{AcceptedStream, ConnectionId, PublishError, PublishRequest},
    },
    proto::v1::{
        BeginPublishRequest, BeginPublishResponse, ErrorReason, Publisher,
        stream_service_client::StreamServiceClient,
    },
    random::random_fraction,
};

/// The longest time that a publisher waits: media servers give up after 10 seconds.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The least remaining time with which a second call is worth it.
const MIN_CALL_TIME: Duration = Duration::from_secs(1);

/// The average delay before the second call.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The longest wait until connections that were taken over are gone.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(3);

/// The interval of looking for them in that time.
const TAKEOVER_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The longest wait until relays play the stream: media servers answer within milliseconds, but
/// some of them to nothing while they wait for the response to a hook.
const EARLY_PLAY_TIMEOUT: Duration = Duration::from_millis(100);

/// The longest wait for pending EndPublish calls.
const PENDING_ENDS_TIMEOUT: Duration = Duration::from_secs(1);

/// The age up to which a poll of the media server is proof of its boot id.
const MAX_POLL_AGE: Duration = Duration::from_millis(500);

/// The longest wait for a newer poll: some media servers answer no request while they wait
/// for the response to a hook.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);

impl Publishers {
    /// Asks the control plane within 8 seconds whether a connection may publish. The caller
    /// must not cancel this. If a call gets no answer, the control plane may still have
    /// accepted the publish; the next report lacks the connection, which ends it.
    pub(crate) async fn begin(&self, request: &PublishRequest) -> Result<(), PublishError> {
        let deadline = Instant::now() + BEGIN_TIMEOUT;
        let began = timeout_at(deadline.into(), self.begin_until(request, deadline)).await;
        let began = began.unwrap_or(Err(PublishError::Unreachable));
        match began {
            Ok(played) => {
                // Relays begin with the first keyframe if they play before it is sent.
                if let Some(played) = played {
                    let _ = timeout(EARLY_PLAY_TIMEOUT, played).await;
                }
                Ok(())
            }
            Err(error) => {
                self.registry().refuse(&request.id, Instant::now());
                if error == PublishError::Unreachable {
                    self.inner.report_now.notify_one();
                }
                Err(error)
            }
        }
    }

    /// Like [`begin`](Self::begin), for a media server that accepts a publisher only after
    /// the one before is gone. In that time the new one may be taken over itself.
    pub(crate) async fn begin_exclusive(
        &self,
        request: PublishRequest,
    ) -> Result<(), PublishError> {
        let deadline = Instant::now() + BEGIN_TIMEOUT;
        self.begin(&request).await?;
        self.wait_for_takeover(&request.id, deadline).await;
        let mut registry = self.registry();
        let checked = registry.check_not_kicked(&request.id);
        if checked.is_err() {
            // The media server sends no hook for its end.
            registry.end(&request.id, Instant::now());
        }
        checked
    }

    async fn begin_until(
        &self,
        request: &PublishRequest,
        deadline: Instant,
    ) -> Result<Option<oneshot::Receiver<Infallible>>, PublishError> {
        self.refresh_boot_id().await;
        let boot_id = {
            let _lock = self.inner.report_lock.lock().await;
            let mut registry = self.registry();
            let boot_id = registry.boot_id.clone();
            let boot_id = boot_id.ok_or(PublishError::Unreachable)?;
            match registry.begin(request, Instant::now())? {
                BeginStep::AlreadyAccepted => return Ok(None),
                BeginStep::CallControlPlane => boot_id,
            }
        };
        let answer = self.call_begin_publish(request, &boot_id, deadline).await?;
        let stream = answer.stream.unwrap_or_default();
        let (unplayed, played) = oneshot::channel();
        let early = AcceptedStream {
            stream_id: stream.id.clone(),
            connection_id: request.id.as_str().to_owned(),
            play_url: Secret::new(sanitize::play_url(&request.play_url)),
            unplayed,
        };
        let publish = AcceptedPublish {
            stream_id: stream.id,
            epoch: stream.epoch,
            boot_id,
        };

        let accepted = self.registry().accept(&request.id, publish, Instant::now());
        if accepted.is_ok() && self.registry().take_over(&request.id) {
            self.inner.disconnect_now.notify_one();
        }
        if accepted.is_ok() {
            // Relays read it later without this.
            let _ = self.inner.accepted.try_send(early);
        }
        match accepted {
            Ok(true) => self.send_heartbeat(&request.id),
            Ok(false) => {}
            Err(ended) => self.send_ends([ended]),
        }
        Ok(Some(played))
    }

    /// Waits until all connections that an accepted one took over are gone. After 3 seconds
    /// the media server decides.
    async fn wait_for_takeover(&self, id: &ConnectionId, deadline: Instant) {
        let gone = async {
            while self.registry().has_predecessors(id) {
                sleep(TAKEOVER_POLL_INTERVAL).await;
            }
        };
        let deadline = deadline.min(Instant::now() + TAKEOVER_TIMEOUT);
        let _ = timeout_at(deadline.into(), gone).await;
    }

    /// Waits briefly for a new poll of the media server, so that the connection is not
    /// registered under a boot that is over.
    async fn refresh_boot_id(&self) {
        let now = Instant::now();
        let mut statuses = self.inner.server_status.subscribe();
        let status = *statuses.borrow_and_update();
        let is_recent = |at: Instant| now.duration_since(at) < MAX_POLL_AGE;
        if status.polled_at.is_some_and(is_recent) {
            return;
        }
        self.inner.poll_now.notify_one();
        let longest = match status.polled_at {
            // Without any poll there is no boot id at all.
            None => BEGIN_TIMEOUT,
            Some(_) if status.is_up => POLL_TIMEOUT,
            Some(_) => return,
        };
        let newer = statuses.wait_for(|status| status.polled_at.is_some_and(|at| at >= now));
        let _ = timeout(longest, newer).await;
    }

    async fn call_begin_publish(
        &self,
        request: &PublishRequest,
        boot_id: &str,
        deadline: Instant,
    ) -> Result<BeginPublishResponse, PublishError> {
        let message = BeginPublishRequest {
            stream_key: request.stream_key.expose().to_owned(),
            publisher: Some(Publisher {
                peer_address: sanitize::peer_address(&request.peer_address),
                protocol: request.protocol.into(),
                ..self.publisher(boot_id, &request.id)
            }),
            media_flowing: false,
            play_url: sanitize::play_url(&request.play_url),
        };
        let (control, begin) = (&self.inner.control, StreamServiceClient::begin_publish);
        let mut pending_ends = self.inner.pending_ends.subscribe();
        let mut had_pending_ends = *pending_ends.borrow() > 0;
        let mut is_last = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let call = control.call(Some(left.min(CALL_TIMEOUT)), message.clone(), begin);
            let status = match call.await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            had_pending_ends |= *pending_ends.borrow() > 0;
            let delay = match ErrorClass::of(&status) {
                // A pending EndPublish may end the publish in the way.
                ErrorClass::Refused(ErrorReason::PublishConflict)
                    if had_pending_ends && !is_last =>
                {
                    let none_left = pending_ends.wait_for(|count| *count == 0);
                    let _ = timeout(PENDING_ENDS_TIMEOUT, none_left).await;
                    Duration::ZERO
                }
                ErrorClass::Refused(reason) => {
                    if reason == ErrorReason::NodeSuperseded {
                        self.log_superseded();
                    }
                    return Err(PublishError::Refused(reason));
                }
                ErrorClass::AccessDenied => return Err(PublishError::Unreachable),
                ErrorClass::Transient(delay) => {
                    delay.unwrap_or(RETRY_DELAY.mul_f64(0.5 + random_fraction()))
                }
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if is_last || delay + MIN_CALL_TIME > left {
                return Err(PublishError::Unreachable);
            }
            is_last = true;
            sleep(delay).await;
        }
    }
}
