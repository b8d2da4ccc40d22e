use std::{io, process::ExitStatus, time::Duration, time::Instant};

use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    assignment::Assignment, assignments::NewRelay, carrier::Carrier, diagnosis,
    failure::RelayFailure, ffmpeg::Ffmpeg, progress::Progress, settings::RelaySettings,
    spawner::Spawner, status::RelayStatus,
};
use crate::proto::v1::{RelayErrorSeverity, RelayState};

/// The interval of progress samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// The longest wait, after ffmpeg has exited, for a carrier to know the reason.
const CARRIER_FAILURE_TIMEOUT: Duration = Duration::from_millis(500);

/// What all relays of a worker share.
#[derive(Debug)]
pub(super) struct RelayContext {
    /// How they run.
    pub(super) settings: RelaySettings,
    /// Starts their processes.
    pub(super) spawner: Spawner,
    /// Notified when the state of one of them changes.
    pub(super) state_changed: Notify,
}

/// A relay from its start to its end.
struct Relay<'a> {
    assignment: Assignment,
    stop: CancellationToken,
    status: watch::Sender<RelayStatus>,
    context: &'a RelayContext,
}

/// Why a relay stops sending.
enum RelayEnd {
    /// It was stopped.
    Stopped,
    /// It has failed.
    Failed(RelayFailure),
    /// ffmpeg has exited.
    Exited(io::Result<ExitStatus>),
}

/// The carriers from the media server and to the destination.
struct Carriers {
    input: Carrier,
    output: Carrier,
}

/// Runs a relay until it is stopped or fails.
pub(super) async fn run(relay: NewRelay, context: &RelayContext) {
    let NewRelay {
        assignment,
        stop,
        status,
        predecessors,
    } = relay;
    for mut predecessor in predecessors {
        // An error means that its sender is dropped: it does not run any more.
        let _ = predecessor.wait_for(RelayStatus::is_over).await;
    }
    let relay = Relay {
        assignment,
        stop,
        status,
        context,
    };
    relay.run().await;
}

impl Relay<'_> {
    async fn run(&self) {
        let Assignment {
            stream_id,
            destination_id,
            ..
        } = &self.assignment;
        tracing::info!(stream_id, destination_id, "starting a relay");
        let opened = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            opened = Carriers::open(self) => Some(opened),
        };
        let failure = match opened {
            None => None,
            Some(Ok(carriers)) => self.send(&carriers).await,
            Some(Err(failure)) => Some(failure),
        };
        let failure = failure.map(|failure| self.finalize(failure));
        match &failure {
            None => tracing::info!(stream_id, destination_id, "stopped a relay"),
            Some(RelayFailure { code, message, .. }) => {
                tracing::warn!(stream_id, destination_id, code, message, "a relay failed");
            }
        }
        self.set_status(RelayStatus::ended(failure));
    }

    /// Sends media until it is stopped, which is no failure, or fails.
    async fn send(&self, carriers: &Carriers) -> Option<RelayFailure> {
        let RelayContext {
            settings, spawner, ..
        } = self.context;
        let Carriers { input, output } = carriers;
        let mut ffmpeg = match Ffmpeg::start(spawner, &settings.ffmpeg, input, output).await {
            Ok(ffmpeg) => ffmpeg,
            Err(error) => return Some(diagnosis::cannot_start(&error)),
        };
        match self.watch(carriers, &mut ffmpeg).await {
            RelayEnd::Stopped => {
                let before = self.status.borrow().clone();
                self.set_status(RelayStatus {
                    state: RelayState::Stopping,
                    ..before
                });
                ffmpeg.terminate().await;
                None
            }
            RelayEnd::Failed(failure) => {
                ffmpeg.terminate().await;
                Some(failure)
            }
            RelayEnd::Exited(exit) => {
                match timeout(CARRIER_FAILURE_TIMEOUT, carriers.failed()).await {
                    Ok(failure) => Some(failure),
                    Err(_) => Some(diagnosis::of_exit(exit, &ffmpeg.stderr_lines().await)),
                }
            }
        }
    }

    /// Updates the status until the relay ends.
    async fn watch(&self, carriers: &Carriers, ffmpeg: &mut Ffmpeg) -> RelayEnd {
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
            if progress.has_stopped(self.context.settings.progress_timeout, now) {
                let ffmpeg_writes = ffmpeg.bytes_written() > written_at_growth;
                return RelayEnd::Failed(diagnosis::no_progress(ffmpeg_writes));
            }
            self.set_status(RelayStatus {
                state: progress.state(now),
                bytes: progress.bytes(),
                bitrate: progress.bitrate(),
                failure: None,
            });
        }
    }

    /// Redacts a failure, and makes it fatal after too many refusals in a row. The first
    /// ones may come from a destination that has not noticed the end of the last try.
    fn finalize(&self, mut failure: RelayFailure) -> RelayFailure {
        failure.message = self.assignment.redact(&failure.message);
        let failures = self.assignment.last_refusals;
        if failures.is_some_and(|failures| diagnosis::is_final(failure.code, failures)) {
            failure.severity = RelayErrorSeverity::Fatal;
        }
        failure
    }

    fn set_status(&self, next: RelayStatus) {
        let state = next.state;
        if self.status.send_replace(next).state != state {
            self.context.state_changed.notify_one();
        }
    }
}

impl Carriers {
    async fn open(relay: &Relay<'_>) -> Result<Self, RelayFailure> {
        let Assignment {
            input_url,
            output_url,
            ..
        } = &relay.assignment;
        if input_url.expose().is_empty() {
            return Err(diagnosis::no_input_url());
        }
        Ok(Self {
            input: Carrier::reading(input_url).await?,
            output: Carrier::sending(output_url, &relay.context.settings.url_policy).await?,
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
