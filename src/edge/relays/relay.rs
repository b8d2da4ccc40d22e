use std::{
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    assignment::{Assignment, RelayInput},
    media::{Input, Inputs, Subscription},
    output::{
        Delivery, DeliveryQuality, Encoder, PresetFolder, RtmpOutput, Spawner, SrtOutput, rendition,
    },
    progress::{PROVEN_BROADCAST, Progress},
    reconnect::Reconnect,
    relay_failure::RelayFailure,
    status::RelayStatus,
    upstream::{Address, Certificates, Side, TLS_FAILED, UpstreamError},
};
use crate::{
    domain::UrlPolicy,
    proto::v1::{RelayErrorSeverity, RelayState},
};

/// How often the acknowledged bytes are read: before the first ones, then, and after a stall, of
/// which the end has to be seen soon.
const START_SAMPLE_INTERVAL: Duration = Duration::from_millis(50);
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
const STALLED_SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// The same after the end of the stream, until the last bytes are acknowledged.
const DRAINING_SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// The longest time of an orderly end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The shortest time between two warnings of a destination that is too slow.
const SLOW_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What all relays of a worker share.
pub(super) struct RelayContext {
    /// The ffmpeg program.
    pub(super) ffmpeg: PathBuf,
    /// The time without progress after which a relay is given up.
    pub(super) patience: Duration,
    pub(super) spawner: Spawner,
    pub(super) presets: PresetFolder,
    pub(super) policy: UrlPolicy,
    pub(super) certificates: Arc<Certificates>,
    pub(super) inputs: Inputs,
    /// The streams and destinations that were broadcast: the last few thousands.
    pub(super) broadcasts: Cache<(String, String), ()>,
    /// Notified when the state of one of them changes.
    pub(super) state_changed: Notify,
}

impl RelayContext {
    fn encoder(&self) -> Encoder {
        Encoder {
            program: self.ffmpeg.clone(),
            spawner: self.spawner.clone(),
        }
    }
}

/// A relay from its start to its end.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) assignment: Assignment,
    /// Its input, which may change.
    pub(super) input: watch::Receiver<RelayInput>,
    /// Cancelled when it has to stop.
    pub(super) stop: CancellationToken,
    pub(super) status: watch::Sender<RelayStatus>,
    /// The relays to the same destination, which must end before it starts.
    pub(super) predecessors: Vec<watch::Receiver<RelayStatus>>,
}

/// What is observed of a relay while it sends.
struct Observation<'a> {
    subscription: &'a Subscription,
    delivery: &'a Delivery,
    progress: Progress,
    /// When the first bytes were acknowledged.
    broadcast_at: Option<Instant>,
    dropped: u64,
    warned_at: Option<Instant>,
}

impl Relay {
    /// Runs it until it is stopped or fails.
    pub(super) async fn run(mut self, context: &RelayContext) {
        for predecessor in &mut self.predecessors {
            // An error means that its sender is dropped: it does not run any more.
            let _ = predecessor.wait_for(RelayStatus::is_over).await;
        }
        let destination_id = &self.assignment.destination_id;
        let stream_id = &self.assignment.input.stream_id;
        tracing::info!(stream_id, destination_id, "starting a relay");
        let sent = self.send(context).await;
        let failure = sent.err().map(|failure| self.finalize(failure, context));
        match &failure {
            None => tracing::info!(stream_id, destination_id, "stopped a relay"),
            Some(RelayFailure { code, message, .. }) => {
                tracing::warn!(stream_id, destination_id, code, message, "a relay failed");
            }
        }
        self.set_status(RelayStatus::ended(failure), context);
    }

    /// Sends media until it is stopped, which is no failure, or fails.
    async fn send(&self, context: &RelayContext) -> Result<(), RelayFailure> {
        let mut changes = self.input.clone();
        let RelayInput {
            source,
            holds,
            has_ended,
        } = changes.borrow_and_update().clone();
        if has_ended {
            // It has not begun to hold anything back.
            return Ok(());
        }
        if source.url.expose().is_empty() {
            return Err(RelayFailure::no_input_url());
        }
        let address = Address::of_output(&self.assignment.output)
            .map_err(|why| UpstreamError::AddressInvalid(why).failure(Side::Output))?;
        let input = self.rendered(context.inputs.get(source)?, context);
        let subscription = Subscription::new(input, self.assignment.delay, holds);
        let sent = self
            .send_media(&address, &subscription, changes, context)
            .await;
        if sent.as_ref().is_err_and(|failure| !failure.is_fatal()) {
            // The next try begins with the keyframes that pass until then.
            let stream_id = &self.assignment.input.stream_id;
            context.inputs.keep(stream_id, subscription.played());
        }
        sent
    }

    /// Sends the media of a subscription, which follows the changes of the input.
    async fn send_media(
        &self,
        address: &Address,
        subscription: &Subscription,
        mut changes: watch::Receiver<RelayInput>,
        context: &RelayContext,
    ) -> Result<(), RelayFailure> {
        let delivery = Delivery::default();
        let mut observation = Observation::new(subscription, &delivery);
        let mut sending = pin!(self.keep_sending(address, subscription, &delivery, context));
        let failure = loop {
            let followed = tokio::select! {
                biased;
                ended = &mut sending => return ended,
                () = self.stop.cancelled() => break None,
                Ok(()) = changes.changed() => {
                    let input = changes.borrow_and_update().clone();
                    self.follow(input, subscription, context)
                }
                () = sleep(observation.interval()) => Ok(()),
            };
            match followed.and_then(|()| observation.sample(self, context)) {
                Ok(status) => self.set_status(status, context),
                Err(failure) => break Some(failure),
            }
            if subscription.is_drained() && !delivery.is_waiting() {
                self.stop.cancel();
            }
        };
        match failure {
            None => {
                let before = self.status.borrow().clone();
                let state = RelayState::Stopping;
                self.set_status(RelayStatus { state, ..before }, context);
            }
            // The connection may be sound, and the destination should see the end of the stream. It is
            // not reported as a stop, which would not be a failure.
            Some(_) => self.stop.cancel(),
        }
        let ended = timeout(STOP_TIMEOUT, sending).await.unwrap_or(Ok(()));
        failure.map_or(ended, Err)
    }

    /// The input, or a rendition of it if the destination has limits.
    fn rendered(&self, input: Arc<Input>, context: &RelayContext) -> Arc<Input> {
        let limits = self.assignment.limits;
        match limits.is_none() {
            true => input,
            false => Arc::new(rendition(input, limits, context.encoder())),
        }
    }

    /// Continues with another input or policy. A rendition stays if its source does.
    fn follow(
        &self,
        input: RelayInput,
        subscription: &Subscription,
        context: &RelayContext,
    ) -> Result<(), RelayFailure> {
        let RelayInput {
            source,
            holds,
            has_ended,
        } = input;
        if has_ended {
            subscription.end();
            return Ok(());
        }
        subscription.set_holds(holds);
        if source.url.expose().is_empty() {
            return Err(RelayFailure::no_input_url());
        }
        let played = subscription.played();
        let next = context.inputs.follow(&played, source)?;
        if !Arc::ptr_eq(&played, &next) {
            subscription.follow(self.rendered(next, context));
        }
        Ok(())
    }

    /// Sends to the destination until it is stopped or fails. A connection that has proved itself
    /// is replaced at once if it is lost: a claim would take more than a second.
    async fn keep_sending(
        &self,
        address: &Address,
        subscription: &Subscription,
        delivery: &Delivery,
        context: &RelayContext,
    ) -> Result<(), RelayFailure> {
        let mut reconnect = Reconnect::default();
        loop {
            let connection = reconnect.begin(delivery.bytes());
            let sent = self.send_to(address, subscription, delivery, context).await;
            let Err(failure) = sent else { return Ok(()) };
            if self.status.borrow().state == RelayState::Stalled {
                // Its owner has to see why.
                return Err(failure);
            }
            let now = Instant::now();
            let delay = reconnect.after(connection, failure, delivery.bytes(), now)?;
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = sleep(delay) => {}
            }
        }
    }

    /// Sends to the destination until it is stopped, or its connection fails.
    async fn send_to(
        &self,
        address: &Address,
        subscription: &Subscription,
        delivery: &Delivery,
        context: &RelayContext,
    ) -> Result<(), RelayFailure> {
        let encryption = &self.assignment.encryption;
        match address {
            Address::Rtmp(_) if !encryption.passphrase.expose().is_empty() => {
                Err(RelayFailure::encryption_unsupported())
            }
            Address::Rtmp(address) => {
                let output = RtmpOutput {
                    address,
                    policy: &context.policy,
                    certificates: &context.certificates,
                    subscription,
                    delivery,
                    is_expected_back: self.assignment.has_progressed || delivery.bytes() > 0,
                };
                output.run(&self.stop).await
            }
            Address::Srt(address) => {
                let output = SrtOutput {
                    address,
                    attempt: self.assignment.attempt,
                    encryption,
                    policy: &context.policy,
                    program: &context.ffmpeg,
                    spawner: &context.spawner,
                    presets: &context.presets,
                    subscription,
                    delivery,
                };
                output.run(&self.stop).await
            }
        }
    }

    /// Redacts a failure, and decides whether it is fatal: after too many refusals in a row, of
    /// which the first ones may come from a destination that has not noticed the end of the last
    /// try. A certificate is not, once the destination has taken media of the stream: nothing is
    /// sent before it is verified.
    fn finalize(&self, mut failure: RelayFailure, context: &RelayContext) -> RelayFailure {
        failure.message = self.assignment.redact(&failure.message);
        let has_broadcast = context.broadcasts.get(&self.broadcast_key()).is_some();
        if self.assignment.makes_final(failure.code, has_broadcast) {
            failure.severity = RelayErrorSeverity::Fatal;
        } else if failure.code == TLS_FAILED && (has_broadcast || self.assignment.has_progressed) {
            failure.severity = RelayErrorSeverity::Retryable;
        }
        failure
    }

    fn broadcast_key(&self) -> (String, String) {
        let Assignment {
            input,
            destination_id,
            ..
        } = &self.assignment;
        (input.stream_id.clone(), destination_id.clone())
    }

    fn set_status(&self, next: RelayStatus, context: &RelayContext) {
        let state = next.state;
        if self.status.send_replace(next).state != state {
            context.state_changed.notify_one();
        }
    }
}

impl<'a> Observation<'a> {
    fn new(subscription: &'a Subscription, delivery: &'a Delivery) -> Self {
        Self {
            subscription,
            delivery,
            progress: Progress::new(Instant::now()),
            broadcast_at: None,
            dropped: 0,
            warned_at: None,
        }
    }

    fn interval(&self) -> Duration {
        if self.subscription.has_ended() {
            return DRAINING_SAMPLE_INTERVAL;
        }
        match self.progress.state(Instant::now()) {
            RelayState::Starting => START_SAMPLE_INTERVAL,
            RelayState::Stalled => STALLED_SAMPLE_INTERVAL,
            _ => SAMPLE_INTERVAL,
        }
    }

    /// The status now; an error if the relay has to be given up.
    fn sample(
        &mut self,
        relay: &Relay,
        context: &RelayContext,
    ) -> Result<RelayStatus, RelayFailure> {
        let now = Instant::now();
        self.progress.sample(self.delivery.bytes(), now);
        if let Some(failure) = self.subscription.codec_failure() {
            return Err(failure);
        }
        if self
            .progress
            .has_stopped(context.patience + relay.assignment.delay, now)
        {
            let no_progress = || match self.delivery.is_silent() {
                true => RelayFailure::silent(),
                false => RelayFailure::no_progress(self.delivery.is_waiting()),
            };
            return Err(self.subscription.failure().unwrap_or_else(no_progress));
        }
        let state = self.progress.state(now);
        if state == RelayState::Broadcasting {
            let since = *self.broadcast_at.get_or_insert(now);
            if now - since >= PROVEN_BROADCAST {
                context.broadcasts.insert(relay.broadcast_key(), ());
            }
        }
        let quality = self.delivery.quality();
        self.warn_if_slow(relay, quality, now);
        let state = match state {
            RelayState::Broadcasting if self.delivery.is_holding() => RelayState::Holding,
            state => state,
        };
        Ok(RelayStatus {
            state,
            bytes: self.progress.bytes(),
            bitrate: self.progress.bitrate(),
            quality,
            failure: None,
        })
    }

    fn warn_if_slow(&mut self, relay: &Relay, quality: DeliveryQuality, now: Instant) {
        let DeliveryQuality {
            dropped_packets: dropped,
            lag_ms,
            ..
        } = quality;
        let warned_lately = |at: Instant| now - at < SLOW_WARNING_INTERVAL;
        if dropped == self.dropped || self.warned_at.is_some_and(warned_lately) {
            return;
        }
        tracing::warn!(
            code = "DESTINATION_TOO_SLOW",
            stream_id = relay.assignment.input.stream_id,
            destination_id = relay.assignment.destination_id,
            dropped_packets = dropped - self.dropped,
            lag_ms,
            bitrate_bps = self.progress.bitrate(),
            "the destination is too slow, dropped media up to a keyframe"
        );
        (self.dropped, self.warned_at) = (dropped, Some(now));
    }
}
