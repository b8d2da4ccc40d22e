use std::time::{Duration, Instant};

use super::{progress::PROVEN_BROADCAST, relay_failure::RelayFailure};

/// The time in which a lost connection is replaced, before the control plane is told.
const RECONNECT_TIME: Duration = Duration::from_secs(3);

/// The delay between two tries in that time.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// Decides whether a relay connects again by itself.
///
/// A destination that drops a connection mostly accepts the next one. A failure that is reported
/// instead costs the media of the retry delay and of another claim: 1 to 2 seconds.
#[derive(Debug, Default)]
pub(super) struct Reconnect {
    /// The loss that the tries are for, and until when they are made.
    lost: Option<(RelayFailure, Instant)>,
}

/// A connection, or the try of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionStart {
    at: Instant,
    /// The bytes that connections before it have delivered.
    bytes: u64,
}

impl Reconnect {
    /// A connection begins.
    pub(super) fn begin(&self, bytes: u64) -> ConnectionStart {
        ConnectionStart {
            at: Instant::now(),
            bytes,
        }
    }

    /// The delay until the next try after a failure `now`; an error if the relay has failed.
    /// `bytes` are all that were delivered.
    pub(super) fn after(
        &mut self,
        connection: ConnectionStart,
        failure: RelayFailure,
        bytes: u64,
        now: Instant,
    ) -> Result<Duration, RelayFailure> {
        let has_delivered = bytes > connection.bytes;
        let is_proven = has_delivered && now - connection.at >= PROVEN_BROADCAST;
        if is_proven && failure.is_loss() {
            self.lost = Some((failure, now + RECONNECT_TIME));
            return Ok(Duration::ZERO);
        }
        match self.lost.take() {
            Some((loss, until)) if !has_delivered && !failure.is_fatal() => {
                // An attempt that is not answered takes longer than all others, and the owner
                // has to see why nothing is sent.
                if failure.is_silence() || now + RECONNECT_DELAY >= until {
                    return Err(loss.and_then(&failure));
                }
                self.lost = Some((loss, until));
                Ok(RECONNECT_DELAY)
            }
            _ => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::RelayErrorSeverity::{Fatal, Retryable};

    const SECOND: Duration = Duration::from_secs(1);

    fn failure(code: &'static str) -> RelayFailure {
        RelayFailure::new(code, Retryable, format!("{code} happened"))
    }

    fn start(at: Instant, bytes: u64) -> ConnectionStart {
        ConnectionStart { at, bytes }
    }

    #[test]
    fn a_proven_connection_that_is_lost_is_replaced_at_once_each_time() {
        let (now, mut reconnect) = (Instant::now(), Reconnect::default());
        for times in 1..5 {
            let begun = start(now + SECOND * 20 * times, u64::from(times) * 100);
            let lost = failure("DESTINATION_LOST");
            let bytes = u64::from(times + 1) * 100;
            let after = reconnect.after(begun, lost, bytes, begun.at + SECOND * 11);
            assert_eq!(after, Ok(Duration::ZERO));
        }
    }

    #[test]
    fn a_connection_that_is_young_or_delivered_nothing_or_was_refused_fails_the_relay() {
        let now = Instant::now();
        for (age, bytes, code) in [
            (6, 100, "DESTINATION_LOST"),
            (30, 0, "DESTINATION_LOST"),
            (30, 100, "DESTINATION_REFUSED"),
        ] {
            let mut reconnect = Reconnect::default();
            let after = reconnect.after(start(now, 0), failure(code), bytes, now + SECOND * age);
            assert_eq!(after, Err(failure(code)), "{age} {bytes} {code}");
        }
    }

    #[test]
    fn the_loss_is_reported_with_the_cause_of_the_last_try() {
        let (mut now, mut reconnect) = (Instant::now(), Reconnect::default());
        let lost = failure("DESTINATION_LOST");
        let begun = start(now, 0);
        now += SECOND * 30;
        reconnect.after(begun, lost, 9, now).unwrap();
        let (mut tries, refused) = (0, || failure("CONNECTION_REFUSED"));
        let reported = loop {
            tries += 1;
            match reconnect.after(start(now, 9), refused(), 9, now) {
                Ok(delay) => now += delay,
                Err(reported) => break reported,
            }
        };
        assert_eq!(tries, 6);
        assert_eq!(reported.code, "DESTINATION_LOST");
        let text = "DESTINATION_LOST happened; connecting again: CONNECTION_REFUSED happened";
        assert_eq!(reported.message, text);
    }

    #[test]
    fn a_destination_that_does_not_answer_any_more_is_reported_as_such_after_one_try() {
        for code in ["CONNECT_TIMEOUT", "HOST_UNREACHABLE"] {
            let (now, mut reconnect) = (Instant::now(), Reconnect::default());
            let later = now + SECOND * 30;
            let lost = failure("DESTINATION_LOST");
            reconnect.after(start(now, 0), lost, 9, later).unwrap();
            let reported = reconnect
                .after(start(later, 9), failure(code), 9, later + SECOND)
                .unwrap_err();
            assert_eq!(reported.code, code);
            let text = format!("DESTINATION_LOST happened; connecting again: {code} happened");
            assert_eq!(reported.message, text);
        }
    }

    #[test]
    fn a_try_that_can_never_succeed_is_reported_as_it_is() {
        let (now, mut reconnect) = (Instant::now(), Reconnect::default());
        let later = now + SECOND * 30;
        let lost = failure("DESTINATION_LOST");
        reconnect.after(start(now, 0), lost, 9, later).unwrap();
        let fatal = RelayFailure::new("TLS_FAILED", Fatal, "no");
        let after = reconnect.after(start(later, 9), fatal.clone(), 9, later);
        assert_eq!(after, Err(fatal));
    }
}
