use super::relay_failure::max_refusals;
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
    /// The URL to which media is sent.
    pub(super) output_url: Secret,
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
            && self.output_url == other.output_url
    }

    /// Whether a failure with this code is final: a refusal after too many in a row.
    pub(super) fn makes_final(&self, code: &str) -> bool {
        match (self.last_refusals, max_refusals(code)) {
            (Some(failures), Some(max_failures)) => failures >= max_failures,
            _ => false,
        }
    }

    /// An external text without URLs and without the destination's key.
    pub(super) fn redact(&self, text: &str) -> String {
        let output = self.output_url.expose();
        let key = match output.split_once("streamid=") {
            Some((_, key)) => key,
            None => output.rsplit('/').next().unwrap_or_default(),
        };
        let parts = [key, key.split(['?', '&']).next().unwrap_or_default()];
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
        } = assignment;
        let relay = relay.unwrap_or_default();
        let last_code = relay.error.unwrap_or_default().code;
        Self {
            last_refusals: max_refusals(&last_code).map(|_| relay.attempt),
            stream_id: relay.stream_id,
            destination_id: relay.destination_id,
            connection_id,
            input_url: Secret::new(input_url),
            output_url: Secret::new(output_url),
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
