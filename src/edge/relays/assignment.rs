use super::{carrier::Output, relay_failure::max_refusals};
use crate::{
    domain::{RelayError, Secret},
    proto::v1,
};

/// The shortest part of a key that is redacted: a shorter one occurs by chance.
const MIN_REDACTED_BYTES: usize = 4;

/// The input and the output of a relay.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) stream_id: String,
    pub(super) destination_id: String,
    pub(super) connection_id: String,
    /// The URL from which media is read; may be empty.
    pub(super) input_url: Secret,
    /// Where media is sent.
    pub(super) output: Output,
    /// With which the media has to be encrypted; empty if it has not.
    pub(super) srt_passphrase: Secret,
    /// The number of failed tries in a row before, if the destination refused the last one.
    last_refusals: Option<i64>,
}

impl Assignment {
    /// Whether both send the same connection to the same URL.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.stream_id == other.stream_id
            && self.destination_id == other.destination_id
            && self.connection_id == other.connection_id
            && self.input_url == other.input_url
            && self.output == other.output
            && self.srt_passphrase == other.srt_passphrase
    }

    /// Whether a failure with this code is final: a refusal after too many in a row.
    pub(super) fn makes_final(&self, code: &str) -> bool {
        match (self.last_refusals, max_refusals(code)) {
            (Some(failures), Some(max_failures)) => failures >= max_failures,
            _ => false,
        }
    }

    /// An external text without URLs and without the destination's secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        let key = self.output.stream_key();
        let name = key.split(['?', '&']).next().unwrap_or_default();
        let parts = [key, name, self.srt_passphrase.expose()];
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
            srt_pbkeylen: _,
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
            last_refusals: max_refusals(&last_code).map(|_| relay.attempt),
            stream_id: relay.stream_id,
            destination_id: relay.destination_id,
            connection_id,
            input_url: Secret::new(input_url),
            output,
            srt_passphrase: Secret::new(srt_passphrase),
        }
    }
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
            let made_final = after(attempt, last_code).makes_final(code);
            assert_eq!(made_final, is_final, "{code} after {attempt} {last_code}");
        }
    }
}
