use super::diagnosis;
use crate::{
    domain::{RelayError, Secret},
    proto::v1,
};

/// Anything shorter stands in too many texts by chance.
const MIN_KEY: usize = 4;

/// What a relay is to do.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// The stream.
    pub(super) stream_id: String,
    /// The destination.
    pub(super) destination_id: String,
    /// The connection that publishes.
    pub(super) connection_id: String,
    /// Where the media is read; may be empty.
    pub(super) input: Secret,
    /// Where it is sent.
    pub(super) output: Secret,
    /// How many tries in a row have failed before this one, if the last was refused.
    pub(super) last_refusals: Option<i64>,
}

impl Work {
    /// Whether both are the same stream from the same connection to the same address.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.stream_id == other.stream_id
            && self.destination_id == other.destination_id
            && self.connection_id == other.connection_id
            && self.input == other.input
            && self.output == other.output
    }

    /// What may be told of a text from outside: no addresses, and nothing of the
    /// destination's key.
    pub(super) fn clean(&self, text: &str) -> String {
        let output = self.output.expose();
        let key = match output.split_once("streamid=") {
            Some((_, key)) => key,
            None => output.rsplit('/').next().unwrap_or_default(),
        };
        let parts = [key, key.split(['?', '&']).next().unwrap_or_default()];
        let cleaned = parts
            .into_iter()
            .filter(|part| part.len() >= MIN_KEY)
            .fold(text.to_owned(), |text, part| text.replace(part, "***"));
        RelayError::clean(&cleaned)
    }
}

impl From<v1::RelayAssignment> for Work {
    fn from(assignment: v1::RelayAssignment) -> Self {
        let v1::RelayAssignment {
            relay,
            lease_id: _,
            lease_expire_time: _,
            input_url,
            output_url,
            connection_id,
        } = assignment;
        let relay = relay.unwrap_or_default();
        let last = relay.error.unwrap_or_default().code;
        Self {
            last_refusals: diagnosis::is_refusal(&last).then_some(relay.attempt),
            stream_id: relay.stream_id,
            destination_id: relay.destination_id,
            connection_id,
            input: Secret::new(input_url),
            output: Secret::new(output_url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(output_url: &str) -> Work {
        Work::from(v1::RelayAssignment {
            output_url: output_url.to_owned(),
            ..Default::default()
        })
    }

    #[test]
    fn no_text_tells_the_key() {
        for (output, said, told) in [
            (
                "rtmp://a.com/app/k3y-1",
                "stream k3y-1 is busy",
                "stream *** is busy",
            ),
            ("rtmp://a.com/app/k3y-1?x=2", "bad k3y-1", "bad ***"),
            (
                "srt://a.com:9?streamid=k3y/1",
                "id k3y/1 unknown",
                "id *** unknown",
            ),
            (
                "rtmp://a.com/app/k3y-1",
                "at rtmp://a.com/app/other",
                "at rtmp://***",
            ),
            ("rtmp://a.com/app/a", "a word", "a word"),
            ("rtmp://a.com/app/", "a word", "a word"),
        ] {
            assert_eq!(to(output).clean(said), told);
        }
    }

    #[test]
    fn a_try_after_refusals_knows_of_them() {
        for (attempt, code, refusals) in [
            (2, "DESTINATION_REFUSED", Some(2)),
            (6, "DESTINATION_CLOSED_EARLY", Some(6)),
            (5, "INPUT_LOST", None),
        ] {
            let relay = v1::Relay {
                attempt,
                error: Some(v1::RelayError {
                    code: code.to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let work = Work::from(v1::RelayAssignment {
                relay: Some(relay),
                ..Default::default()
            });
            assert_eq!(work.last_refusals, refusals, "{attempt} {code}");
        }
    }
}
