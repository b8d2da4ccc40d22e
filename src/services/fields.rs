//! Reads the fields of a message, and remembers every one that is wrong.

use std::{ops::RangeInclusive, time::Duration};

use chrono::{DateTime, Datelike, SubsecRound};
use uuid::Uuid;

use crate::{
    domain::{Invalid, Time, Violation},
    error::Error,
};

/// The faults found so far in one message.
///
/// Each value that is read is an `Option`, which is `None` after a fault:
///
/// ```text
/// let (Some(id), Some(name)) = (id, name) else { return Err(fields.refuse()) };
/// ```
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Violation>);

impl Fields {
    /// Takes a value that was read from a field.
    pub fn read<T>(&mut self, field: &str, value: Result<T, Invalid>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(fault) => {
                self.0.push(Violation {
                    field: field.to_owned(),
                    description: fault.0,
                });
                None
            }
        }
    }

    /// Takes a value that was read from a field that may be absent.
    pub fn read_optional<T>(
        &mut self,
        field: &str,
        value: Option<Result<T, Invalid>>,
    ) -> Option<Option<T>> {
        match value {
            None => Some(None),
            Some(value) => self.read(field, value).map(Some),
        }
    }

    /// Takes the faults of a message that stands in a field.
    pub fn nest(&mut self, path: &str, inner: Self) {
        self.0.extend(inner.0.into_iter().map(|fault| Violation {
            field: format!("{path}.{}", fault.field),
            ..fault
        }));
    }

    /// How many faults were found.
    pub fn faults(&self) -> usize {
        self.0.len()
    }

    /// All faults, as an error.
    pub fn refuse(self) -> Error {
        Error::Invalid(self.0)
    }
}

/// Reads one field of a message that has no other.
pub(super) fn only<T>(field: &str, value: Result<T, Invalid>) -> Result<T, Error> {
    value.map_err(|fault| Error::invalid(field, fault.0))
}

/// Reads a span of time; absent is zero.
pub(super) fn span(
    value: Option<prost_types::Duration>,
    bounds: RangeInclusive<Duration>,
    wanted: &'static str,
) -> Result<Duration, Invalid> {
    let Some(prost_types::Duration { seconds, nanos }) = value else {
        return Ok(Duration::ZERO);
    };
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos @ 0..1_000_000_000))
            if bounds.contains(&Duration::new(seconds, nanos)) =>
        {
            Ok(Duration::new(seconds, nanos))
        }
        _ => Err(Invalid::because(wanted)),
    }
}

/// Reads a moment.
pub(super) fn moment(value: prost_types::Timestamp) -> Result<Time, Invalid> {
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    nanos
        .and_then(|nanos| DateTime::from_timestamp(value.seconds, nanos))
        .filter(|time| (1..=9999).contains(&time.year()))
        .map(|time| time.trunc_subsecs(6))
        .ok_or_else(|| Invalid::because("must be a time of the years 1 to 9999"))
}

/// Reads the `request_id` of a create.
pub(super) fn request_id(text: &str) -> Result<Option<Uuid>, Invalid> {
    match text {
        "" => Ok(None),
        _ => match Uuid::try_parse(text) {
            Ok(id) if !id.is_nil() => Ok(Some(id)),
            _ => Err(Invalid::because("must be a UUID, or empty")),
        },
    }
}

/// Reads a value of an enum that must not be unspecified (0) or unknown.
pub(super) fn one_of<E: TryFrom<i32>>(value: i32) -> Result<E, Invalid> {
    let known = E::try_from(value).ok().filter(|_| value != 0);
    known.ok_or_else(|| Invalid::because("must be one of the values of its enum, not unspecified"))
}

/// A moment, as a message has it.
pub(super) fn timestamp(time: Time) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos,
    }
}

/// A span of time, as a message has it.
pub(super) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{moment, request_id, span};

    #[test]
    fn a_span_is_within_its_bounds_and_well_formed() {
        let bounds = || Duration::ZERO..=Duration::from_secs(60);
        let read = |seconds, nanos| {
            span(
                Some(prost_types::Duration { seconds, nanos }),
                bounds(),
                "must be up to 60 s",
            )
        };

        assert_eq!(span(None, bounds(), ""), Ok(Duration::ZERO));
        assert_eq!(read(1, 500_000_000), Ok(Duration::from_millis(1500)));
        for (seconds, nanos) in [(-1, 0), (0, -1), (60, 1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert!(read(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_moment_is_one_that_exists() {
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (i64::MIN, 0),
            (0, -1),
            (0, 1_000_000_000),
            (253_402_300_800, 0),
        ] {
            assert!(moment(prost_types::Timestamp { seconds, nanos }).is_err());
        }
        let last = prost_types::Timestamp {
            seconds: 253_402_300_799,
            nanos: 0,
        };
        assert!(moment(last).is_ok());
    }

    #[test]
    fn a_request_id_is_a_uuid_or_nothing() {
        assert_eq!(request_id(""), Ok(None));
        assert!(request_id("1").is_err());
        assert!(request_id("00000000-0000-0000-0000-000000000000").is_err());
    }
}
