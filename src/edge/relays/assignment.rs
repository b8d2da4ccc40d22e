use std::time::Duration;

use super::{
    media::InputSource,
    output::{Encryption, Limits},
    relay_failure::max_refusals,
    upstream::Output,
};
use crate::{
    domain::{RelayError, Secret},
    proto::v1,
};

/// The shortest part of a key that is redacted: a shorter one occurs by chance.
const MIN_REDACTED_BYTES: usize = 4;

/// What a relay takes of the capacity if its video is encoded: as many copies take less CPU.
pub(in crate::edge) const ENCODING_COST: i64 = 10;

/// The longest delay of an output.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What may change while a relay runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelayInput {
    /// From where media is read.
    pub(super) source: InputSource,
    /// Whether the output bridges the time without a publisher.
    pub(super) holds: bool,
    /// Whether the stream has ended: the relay ends when nothing is held back any more.
    pub(super) has_ended: bool,
}

/// The input and the output of a relay.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) destination_id: String,
    /// From where media is read; its URL may be empty.
    pub(super) input: InputSource,
    /// Whether the output bridges the time without a publisher.
    pub(super) holds: bool,
    /// Where media is sent.
    pub(super) output: Output,
    /// With which the media has to be encrypted.
    pub(super) encryption: Encryption,
    /// How much later than it arrives the media is sent.
    pub(super) delay: Duration,
    /// The limits of the video, which is encoded if there are any.
    pub(super) limits: Limits,
    /// Whether bytes were acknowledged before, within this stream.
    pub(super) has_progressed: bool,
    /// Whether the destination has accepted the key, as the control plane knows.
    pub(super) has_broadcast: bool,
    /// The number of failed tries in a row before.
    pub(super) attempt: usize,
    /// The same, if the destination refused the last one.
    last_refusals: Option<i64>,
}

impl Assignment {
    /// Whether a relay with the other assignment can continue with this one, on the same
    /// connection to the destination.
    pub(super) fn continues(&self, other: &Self) -> bool {
        let is_same_input = self.input == other.input;
        let follows = self.holds && self.input.stream_id == other.input.stream_id;
        self.destination_id == other.destination_id
            && (is_same_input || follows)
            && self.output == other.output
            && self.encryption == other.encryption
            && self.delay == other.delay
            && self.limits == other.limits
    }

    /// What it takes of the capacity of the worker.
    pub(super) fn cost(&self) -> i64 {
        match self.limits.is_none() {
            true => 1,
            false => ENCODING_COST,
        }
    }

    /// The part that may change while the relay runs.
    pub(super) fn relay_input(&self) -> RelayInput {
        RelayInput {
            source: self.input.clone(),
            holds: self.holds,
            has_ended: false,
        }
    }

    /// Whether a failure with this code is final: a refusal after too many in a row. None is
    /// while the stream lives if the destination has shown that it accepts the key, to this worker
    /// (`has_broadcast`) or to any.
    pub(super) fn makes_final(&self, code: &str, has_broadcast: bool) -> bool {
        // A refused key is never followed by acknowledged media; an early end may be.
        if has_broadcast
            || self.has_broadcast
            || self.has_progressed && code == "DESTINATION_REFUSED"
        {
            return false;
        }
        match (self.last_refusals, max_refusals(code)) {
            (Some(failures), Some(max_failures)) => failures >= max_failures,
            _ => false,
        }
    }

    /// An external text without URLs and without the destination's secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        let key = self.output.stream_key();
        let name = key.split(['?', '&']).next().unwrap_or_default();
        let parts = [key, name, self.encryption.passphrase.expose()];
        let parts = parts.iter().filter(|part| part.len() >= MIN_REDACTED_BYTES);
        let redacted = parts.fold(text.to_owned(), |text, part| text.replace(part, "***"));
        RelayError::redact(&redacted)
    }
}

impl From<v1::RelayAssignment> for Assignment {
    fn from(assignment: v1::RelayAssignment) -> Self {
        let v1::RelayAssignment {
            relay,
            lease_id: _,
            lease_expire_time: _,
            lease_duration: _,
            input_url,
            output_url,
            connection_id,
            output_server_url,
            output_stream_key,
            srt_passphrase,
            srt_pbkeylen,
            outage_policy,
            output_delay,
            max_video_bitrate_kbps,
            max_height,
            has_broadcast,
        } = assignment;
        // A control plane of an earlier version sends only the joined URL.
        let output = match output_server_url.is_empty() {
            true => Output::Joined(Secret::new(output_url)),
            false => Output::Apart {
                server_url: Secret::new(output_server_url),
                stream_key: Secret::new(output_stream_key),
            },
        };
        let relay = relay.unwrap_or_default();
        let last_code = relay.error.unwrap_or_default().code;
        Self {
            attempt: usize::try_from(relay.attempt).unwrap_or_default(),
            last_refusals: max_refusals(&last_code).map(|_| relay.attempt),
            delay: delay(output_delay),
            limits: Limits {
                video_bitrate_kbps: u32::try_from(max_video_bitrate_kbps).unwrap_or_default(),
                height: u32::try_from(max_height).unwrap_or_default(),
            },
            has_progressed: relay.last_progress_time.is_some(),
            has_broadcast,
            destination_id: relay.destination_id,
            holds: outage_policy == i32::from(v1::OutagePolicy::Hold),
            input: InputSource {
                stream_id: relay.stream_id,
                connection_id,
                url: Secret::new(input_url),
            },
            output,
            encryption: Encryption {
                passphrase: Secret::new(srt_passphrase),
                key_length: srt_pbkeylen,
            },
        }
    }
}

fn delay(output_delay: Option<prost_types::Duration>) -> Duration {
    let delay = output_delay.and_then(|delay| Duration::try_from(delay).ok());
    delay.unwrap_or_default().min(MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "DESTINATION_REFUSED";
    const CLOSED: &str = "DESTINATION_CLOSED_EARLY";

    fn to(output_url: &str) -> Assignment {
        Assignment::from(v1::RelayAssignment {
            output_url: output_url.to_owned(),
            ..Default::default()
        })
    }

    /// Of a relay with this many failed tries and this last error.
    fn after(attempt: i64, last_code: &str) -> Assignment {
        let error = v1::RelayError {
            code: last_code.to_owned(),
            ..Default::default()
        };
        let relay = v1::Relay {
            attempt,
            error: Some(error),
            ..Default::default()
        };
        Assignment::from(v1::RelayAssignment {
            relay: Some(relay),
            ..Default::default()
        })
    }

    #[test]
    fn the_key_and_urls_are_redacted() {
        let (rtmp, srt) = ("rtmp://a.com/app/k3y-1", "srt://a.com:9?streamid=k3y/1");
        for (output, text, redacted) in [
            (rtmp, "stream k3y-1 is busy", "stream *** is busy"),
            ("rtmp://a.com/app/k3y-1?x=2", "bad k3y-1", "bad ***"),
            (srt, "id k3y/1 unknown", "id *** unknown"),
            (rtmp, "at rtmp://a.com/app/other", "at rtmp://***"),
            ("rtmp://a.com/app/a", "a word", "a word"),
            ("rtmp://a.com/app/", "a word", "a word"),
        ] {
            assert_eq!(to(output).redact(text), redacted);
        }
    }

    #[test]
    fn a_key_with_slashes_and_the_passphrase_are_redacted() {
        let assignment = Assignment::from(v1::RelayAssignment {
            output_server_url: "srt://a.com:9".to_owned(),
            output_stream_key: "abc/def==&x=1".to_owned(),
            srt_passphrase: "correct horse".to_owned(),
            ..Default::default()
        });
        for (text, redacted) in [
            ("no abc/def==&x=1 here", "no *** here"),
            ("no abc/def== here", "no *** here"),
            ("wrong correct horse", "wrong ***"),
        ] {
            assert_eq!(assignment.redact(text), redacted);
        }
    }

    #[test]
    fn refusals_in_a_row_are_counted() {
        for (attempt, code, refusals) in [
            (2, REFUSED, Some(2)),
            (6, CLOSED, Some(6)),
            (5, "INPUT_LOST", None),
        ] {
            let counted = after(attempt, code).last_refusals;
            assert_eq!(counted, refusals, "{attempt} {code}");
        }
    }

    #[test]
    fn a_refusal_is_final_after_enough_failures() {
        for (attempt, last_code, code, is_final) in [
            (3, REFUSED, REFUSED, false),
            (4, REFUSED, REFUSED, true),
            (5, REFUSED, CLOSED, false),
            (6, CLOSED, CLOSED, true),
            (50, REFUSED, "DESTINATION_LOST", false),
            (50, "INPUT_LOST", REFUSED, false),
        ] {
            let made_final = after(attempt, last_code).makes_final(code, false);
            assert_eq!(made_final, is_final, "{code} after {attempt} {last_code}");
        }
    }

    #[test]
    fn no_refusal_is_final_while_a_stream_lives_that_was_broadcast() {
        for code in [REFUSED, CLOSED] {
            assert!(!after(50, code).makes_final(code, true), "{code}");
            let proven = Assignment {
                has_broadcast: true,
                ..after(50, code)
            };
            assert!(!proven.makes_final(code, false), "{code}");
        }
        for (code, is_final) in [(REFUSED, false), (CLOSED, true)] {
            let progressed = Assignment {
                has_progressed: true,
                ..after(50, code)
            };
            assert_eq!(progressed.makes_final(code, false), is_final, "{code}");
        }
    }
}
