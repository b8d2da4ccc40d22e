use std::{io, process::ExitStatus, time::Duration, time::Instant};

use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    assignment::Work, assignments::Start, carrier::Carrier, diagnosis, failure::Fault,
    ffmpeg::Ffmpeg, progress::Progress, settings::RelayTerms, spawner::Spawner, status::Seen,
};
use crate::proto::v1::{RelayErrorSeverity, RelayState};

/// How often the bytes are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How long after the end of ffmpeg a carrier may take to know the reason.
const REASON: Duration = Duration::from_millis(500);

/// What all relays of a worker share.
#[derive(Debug)]
pub(super) struct Shared {
    /// How they run.
    pub(super) terms: RelayTerms,
    /// What starts their processes.
    pub(super) spawner: Spawner,
    /// Told when one of them does something else than before.
    pub(super) changed: Notify,
}

/// The life of one relay.
struct Relay<'a> {
    work: Work,
    stop: CancellationToken,
    seen: watch::Sender<Seen>,
    shared: &'a Shared,
}

/// Why a relay does not send any more.
enum End {
    /// It was told to stop.
    Stopped,
    /// This is known.
    Failed(Fault),
    /// ffmpeg has ended.
    Exited(io::Result<ExitStatus>),
}

/// What carries the media from the media server, and to the destination.
struct Ends {
    input: Carrier,
    output: Carrier,
}

/// Runs a relay until it is told to stop, or fails.
pub(super) async fn run(start: Start, shared: &Shared) {
    let Start {
        work,
        stop,
        seen,
        after,
    } = start;
    for mut other in after {
        // If nobody tells any more, nothing runs any more.
        let _ = other.wait_for(Seen::is_over).await;
    }
    let relay = Relay {
        work,
        stop,
        seen,
        shared,
    };
    relay.live().await;
}

impl Relay<'_> {
    async fn live(&self) {
        let Work {
            stream_id,
            destination_id,
            ..
        } = &self.work;
        tracing::info!(stream_id, destination_id, "starting a relay");
        let opened = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            opened = Ends::open(self) => Some(opened),
        };
        let fault = match opened {
            None => None,
            Some(Ok(ends)) => self.send(&ends).await,
            Some(Err(fault)) => Some(fault),
        };
        let fault = fault.map(|fault| self.judged(fault));
        match &fault {
            None => tracing::info!(stream_id, destination_id, "stopped a relay"),
            Some(Fault { code, message, .. }) => {
                tracing::warn!(stream_id, destination_id, code, message, "a relay failed");
            }
        }
        self.tell(Seen::ended(fault));
    }

    /// Sends until it is told to stop, which is no fault, or something fails.
    async fn send(&self, ends: &Ends) -> Option<Fault> {
        let Shared { terms, spawner, .. } = self.shared;
        let started = Ffmpeg::start(spawner, &terms.ffmpeg, &ends.input, &ends.output).await;
        let mut ffmpeg = match started {
            Ok(ffmpeg) => ffmpeg,
            Err(error) => return Some(diagnosis::of_no_process(&error)),
        };
        match self.watch(ends, &mut ffmpeg).await {
            End::Stopped => {
                let before = self.seen.borrow().clone();
                self.tell(Seen {
                    state: RelayState::Stopping,
                    ..before
                });
                ffmpeg.end().await;
                None
            }
            End::Failed(fault) => {
                ffmpeg.end().await;
                Some(fault)
            }
            End::Exited(exit) => match timeout(REASON, ends.failed()).await {
                Ok(fault) => Some(fault),
                Err(_) => Some(diagnosis::of_exit(exit, &ffmpeg.last_lines().await)),
            },
        }
    }

    /// Tells of progress as long as there is some.
    async fn watch(&self, ends: &Ends, ffmpeg: &mut Ffmpeg) -> End {
        let mut progress = Progress::new(Instant::now());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut written = 0;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stopped,
                fault = ends.failed() => return End::Failed(fault),
                exit = ffmpeg.ended() => return End::Exited(exit),
                _ = looks.tick() => {}
            }
            let now = Instant::now();
            let before = progress.bytes();
            progress.see(ends.output.bytes(), now);
            if progress.bytes() > before {
                written = ffmpeg.written();
            }
            if progress.is_over(self.shared.terms.patience, now) {
                return End::Failed(diagnosis::of_silence(ffmpeg.written() > written));
            }
            self.tell(Seen {
                state: progress.state(now),
                bytes: progress.bytes(),
                bitrate: progress.bitrate(),
                fault: None,
            });
        }
    }

    /// A fault as it is told: without secrets, and fatal if the destination refuses again
    /// and again. It may refuse at first because it has not noticed the end of the last try.
    fn judged(&self, mut fault: Fault) -> Fault {
        fault.message = self.work.clean(&fault.message);
        let failures = self.work.last_refusals;
        if failures.is_some_and(|failures| diagnosis::is_final(fault.code, failures)) {
            fault.severity = RelayErrorSeverity::Fatal;
        }
        fault
    }

    fn tell(&self, next: Seen) {
        let state = next.state;
        if self.seen.send_replace(next).state != state {
            self.shared.changed.notify_one();
        }
    }
}

impl Ends {
    async fn open(relay: &Relay<'_>) -> Result<Self, Fault> {
        let Work { input, output, .. } = &relay.work;
        if input.expose().is_empty() {
            return Err(diagnosis::of_no_input());
        }
        Ok(Self {
            input: Carrier::reading(input).await?,
            output: Carrier::sending(output, &relay.shared.terms.policy).await?,
        })
    }

    /// Why media is not carried any more.
    async fn failed(&self) -> Fault {
        tokio::select! {
            biased;
            fault = self.output.failed() => fault,
            fault = self.input.failed() => fault,
        }
    }
}
