use std::{
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    assignment::Assignment,
    carrier::Carrier,
    ffmpeg::{Ffmpeg, Spawner},
    progress::Progress,
    relay_failure::RelayFailure,
    status::RelayStatus,
};
use crate::{
    config::EdgeConfig,
    proto::v1::{RelayErrorSeverity, RelayState},
};

const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// The longest wait, after ffmpeg has exited, for a carrier to know the reason.
const CARRIER_FAILURE_TIMEOUT: Duration = Duration::from_millis(500);

/// What all relays of a worker share.
pub(super) struct RelayContext {
    pub(super) config: EdgeConfig,
    pub(super) spawner: Spawner,
    /// Notified when the state of one of them changes.
    pub(super) state_changed: Notify,
}

/// A relay from its start to its end.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) assignment: Assignment,
    /// Cancelled when it has to stop.
    pub(super) stop: CancellationToken,
    pub(super) status: watch::Sender<RelayStatus>,
    /// The relays to the same destination, which must end before it starts.
    pub(super) predecessors: Vec<watch::Receiver<RelayStatus>>,
}

/// Why a relay stops sending.
enum RelayEnd {
    Stopped,
    Failed(RelayFailure),
    Exited(io::Result<ExitStatus>),
}

/// The carriers from the media server and to the destination.
struct Carriers {
    input: Carrier,
    output: Carrier,
}

impl Relay {
    /// Runs it until it is stopped or fails.
    pub(super) async fn run(mut self, context: &RelayContext) {
        for predecessor in &mut self.predecessors {
            // An error means that its sender is dropped: it does not run any more.
            let _ = predecessor.wait_for(RelayStatus::is_over).await;
        }
        let Assignment {
            stream_id,
            destination_id,
            ..
        } = &self.assignment;
        tracing::info!(stream_id, destination_id, "starting a relay");
        let sent = self.send(context).await;
        let failure = sent.err().map(|failure| self.finalize(failure));
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
        let carriers = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(()),
            opened = Carriers::open(&self.assignment, &context.config) => opened?,
        };
        let (Carriers { input, output }, program) = (&carriers, &context.config.ffmpeg);
        let started = Ffmpeg::start(&context.spawner, program, input, output).await;
        let mut ffmpeg = started.map_err(|error| RelayFailure::cannot_start(&error))?;
        match self.watch(&carriers, &mut ffmpeg, context).await {
            RelayEnd::Stopped => {
                let before = self.status.borrow().clone();
                let state = RelayState::Stopping;
                self.set_status(RelayStatus { state, ..before }, context);
                ffmpeg.terminate().await;
                Ok(())
            }
            RelayEnd::Failed(failure) => {
                ffmpeg.terminate().await;
                Err(failure)
            }
            RelayEnd::Exited(exit) => Err(
                match timeout(CARRIER_FAILURE_TIMEOUT, carriers.failed()).await {
                    Ok(failure) => failure,
                    Err(_) => RelayFailure::of_exit(exit, &ffmpeg.stderr_lines().await),
                },
            ),
        }
    }

    /// Updates the status until the relay ends.
    async fn watch(
        &self,
        carriers: &Carriers,
        ffmpeg: &mut Ffmpeg,
        context: &RelayContext,
    ) -> RelayEnd {
        let mut progress = Progress::new(Instant::now());
        let mut samples = interval(SAMPLE_INTERVAL);
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut written_at_growth = 0;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return RelayEnd::Stopped,
                failure = carriers.failed() => return RelayEnd::Failed(failure),
                exit = ffmpeg.exited() => return RelayEnd::Exited(exit),
                _ = samples.tick() => {}
            }
            let now = Instant::now();
            let before = progress.bytes();
            progress.sample(carriers.output.bytes(), now);
            if progress.bytes() > before {
                written_at_growth = ffmpeg.bytes_written();
            }
            if progress.has_stopped(context.config.relay_patience, now) {
                let ffmpeg_writes = ffmpeg.bytes_written() > written_at_growth;
                return RelayEnd::Failed(RelayFailure::no_progress(ffmpeg_writes));
            }
            let status = RelayStatus {
                state: progress.state(now),
                bytes: progress.bytes(),
                bitrate: progress.bitrate(),
                failure: None,
            };
            self.set_status(status, context);
        }
    }

    /// Redacts a failure, and makes it fatal after too many refusals in a row. The first
    /// ones may come from a destination that has not noticed the end of the last try.
    fn finalize(&self, mut failure: RelayFailure) -> RelayFailure {
        failure.message = self.assignment.redact(&failure.message);
        if self.assignment.makes_final(failure.code) {
            failure.severity = RelayErrorSeverity::Fatal;
        }
        failure
    }

    fn set_status(&self, next: RelayStatus, context: &RelayContext) {
        let state = next.state;
        if self.status.send_replace(next).state != state {
            context.state_changed.notify_one();
        }
    }
}

impl Carriers {
    async fn open(assignment: &Assignment, config: &EdgeConfig) -> Result<Self, RelayFailure> {
        let input_url = &assignment.input_url;
        if input_url.expose().is_empty() {
            return Err(RelayFailure::no_input_url());
        }
        if !assignment.srt_passphrase.expose().is_empty() {
            return Err(RelayFailure::encryption_unsupported());
        }
        Ok(Self {
            input: Carrier::reading(input_url).await?,
            output: Carrier::sending(&assignment.output, &config.url_policy()).await?,
        })
    }

    /// Waits until one of them fails.
    async fn failed(&self) -> RelayFailure {
        tokio::select! {
            biased;
            failure = self.output.failed() => failure,
            failure = self.input.failed() => failure,
        }
    }
}
