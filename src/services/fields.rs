//! Reads the fields of a message, and collects all that are invalid.

use std::{ops::RangeInclusive, time::Duration};

use chrono::{DateTime, Datelike, SubsecRound};
use uuid::Uuid;

use crate::{
    auth::Sealer,
    domain::{CreateTimeRange, Id, Invalid, OrganizationId, Tenant, Time, UserId, Violation, now},
    error::Error,
    repositories::IdempotencyKey,
};

/// The number of violations after which the entries of a list are not read any more.
const MAX_VIOLATIONS: usize = 50;

/// The violations found so far in one message.
///
/// Each value that is read is an `Option`, which is `None` if it is invalid. All fields are read
/// before the first `?`.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Violation>);

impl Fields {
    /// Reads a message: its value, or an error with all violations.
    pub fn read_all<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Error> {
        let mut fields = Self::default();
        read(&mut fields).ok_or_else(|| fields.into_error())
    }

    /// Takes a parsed field.
    pub fn read<T>(&mut self, field: &str, value: Result<T, Invalid>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.0.push(Violation {
                    field: field.to_owned(),
                    description: invalid.0,
                });
                None
            }
        }
    }

    /// Takes a parsed field that may be absent.
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

    /// Takes an id, which may be absent: empty.
    pub fn read_optional_id<K>(&mut self, field: &str, text: &str) -> Option<Option<Id<K>>> {
        let id = (!text.is_empty()).then(|| Id::parse(text));
        self.read_optional(field, id)
    }

    /// Takes the entries of a list. Each is read with fields of its own.
    ///
    /// After [`MAX_VIOLATIONS`] it stops, to bound the size of the response.
    pub fn read_each<M, T>(
        &mut self,
        list: &str,
        entries: Vec<M>,
        mut read: impl FnMut(&mut Self, M) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut values = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let mut inner = Self::default();
            values.push(read(&mut inner, entry));
            let nested = inner.0.into_iter().map(|violation| Violation {
                field: format!("{list}[{index}].{}", violation.field),
                ..violation
            });
            self.0.extend(nested);
            if self.0.len() >= MAX_VIOLATIONS {
                return None;
            }
        }
        // `None` if one of them is invalid.
        values.into_iter().collect()
    }

    /// An error with all violations.
    pub fn into_error(self) -> Error {
        Error::Invalid(self.0)
    }
}

/// Reads the only field of a message.
pub(super) fn read_field<T>(field: &str, value: Result<T, Invalid>) -> Result<T, Error> {
    value.map_err(|invalid| Error::invalid(field, invalid.0))
}

/// Reads an id, the only field of a message.
pub(super) fn read_id<K>(field: &str, text: &str) -> Result<Id<K>, Error> {
    read_field(field, Id::parse(text))
}

/// Reads a duration; absent means zero.
pub(super) fn read_duration(
    value: Option<prost_types::Duration>,
    bounds: RangeInclusive<Duration>,
    requirement: &'static str,
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
        _ => Err(Invalid::because(requirement)),
    }
}

/// Reads a timestamp.
pub(super) fn read_timestamp(value: prost_types::Timestamp) -> Result<Time, Invalid> {
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    nanos
        .and_then(|nanos| DateTime::from_timestamp(value.seconds, nanos))
        .filter(|time| (1..=9999).contains(&time.year()))
        .map(|time| time.trunc_subsecs(6))
        .ok_or_else(|| Invalid::because("must be a time of the years 1 to 9999"))
}

/// Reads an optional `request_id`.
pub(super) fn read_request_id(text: &str) -> Result<Option<Uuid>, Invalid> {
    match text {
        "" => Ok(None),
        _ => match Uuid::try_parse(text) {
            Ok(id) if !id.is_nil() => Ok(Some(id)),
            _ => Err(Invalid::because("must be a UUID, or empty")),
        },
    }
}

/// Reads the optional `request_id` of a request of this user, and identifies the request with it.
/// `request` is the content that a repetition must have too.
pub(super) fn read_idempotency(
    fields: &mut Fields,
    user: UserId,
    request_id: &str,
    method: &'static str,
    request: &[u8],
    sealer: &Sealer,
) -> Option<Option<IdempotencyKey>> {
    let id = fields.read("request_id", read_request_id(request_id))?;
    Some(id.map(|id| idempotency_key(user.uuid(), id, method, request, sealer)))
}

/// Reads the optional `organization_id` of a request: the tenant in this organization. Without one,
/// it is the tenant's own.
pub(super) fn read_organization(fields: &mut Fields, tenant: Tenant, id: &str) -> Option<Tenant> {
    match id {
        "" => Some(tenant),
        id => {
            let id = fields.read("organization_id", OrganizationId::parse(id))?;
            Some(tenant.in_organization(id))
        }
    }
}

/// Reads the optional bounds of a list by creation time.
pub(super) fn read_created(
    fields: &mut Fields,
    after: Option<prost_types::Timestamp>,
    before: Option<prost_types::Timestamp>,
) -> Option<CreateTimeRange> {
    let after = fields.read_optional("created_after", after.map(read_timestamp));
    let before = fields.read_optional("created_before", before.map(read_timestamp));
    Some(CreateTimeRange::new(after?, before?))
}

/// The optional etag of a change; empty means none.
pub(super) fn read_etag(etag: String) -> Option<String> {
    Some(etag).filter(|etag| !etag.is_empty())
}

/// The idempotency key of a request. `request` is the content that a repetition must have too.
pub(super) fn idempotency_key(
    owner_id: Uuid,
    request_id: Uuid,
    method: &'static str,
    request: &[u8],
    sealer: &Sealer,
) -> IdempotencyKey {
    let fingerprints = sealer.digests(method, request).collect();
    IdempotencyKey {
        owner_id,
        request_id,
        method,
        fingerprints,
    }
}

/// Checks that a number is not negative.
pub(super) fn not_negative<N: PartialOrd + Default>(value: N) -> Result<N, Invalid> {
    match value < N::default() {
        true => Err(Invalid::because("must not be negative")),
        false => Ok(value),
    }
}

/// The message of a timestamp.
pub(super) fn timestamp(time: Time) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos,
    }
}

/// The time until `time`; zero if that has passed.
pub(super) fn remaining(time: Time) -> Duration {
    (time - now()).to_std().unwrap_or_default()
}

/// The message of a duration.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{read_duration, read_request_id, read_timestamp};

    #[test]
    fn a_duration_is_well_formed_and_within_its_bounds() {
        let bounds = || Duration::ZERO..=Duration::from_secs(60);
        let read = |seconds, nanos| {
            read_duration(
                Some(prost_types::Duration { seconds, nanos }),
                bounds(),
                "must be up to 60 s",
            )
        };

        assert_eq!(read_duration(None, bounds(), ""), Ok(Duration::ZERO));
        assert_eq!(read(1, 500_000_000), Ok(Duration::from_millis(1500)));
        for (seconds, nanos) in [(-1, 0), (0, -1), (60, 1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert!(read(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_timestamp_is_well_formed_and_in_the_years_1_to_9999() {
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (i64::MIN, 0),
            (0, -1),
            (0, 1_000_000_000),
            (253_402_300_800, 0),
        ] {
            assert!(read_timestamp(prost_types::Timestamp { seconds, nanos }).is_err());
        }
        let last = prost_types::Timestamp {
            seconds: 253_402_300_799,
            nanos: 0,
        };
        assert!(read_timestamp(last).is_ok());
    }

    #[test]
    fn a_request_id_is_a_uuid_or_empty() {
        assert_eq!(read_request_id(""), Ok(None));
        assert!(read_request_id("1").is_err());
        assert!(read_request_id("00000000-0000-0000-0000-000000000000").is_err());
    }
}
