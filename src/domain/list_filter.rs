//! The filters that lists have in common.

use std::fmt;

use chrono::DateTime;

use super::Time;

/// Rows created after one time and before another, neither included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateTimeRange {
    /// Only rows created after this time.
    pub after: Time,
    /// Only rows created before this time.
    pub before: Time,
}

/// The end of the year 9999: the latest time of a `google.protobuf.Timestamp`.
const LATEST: Time = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(time) => time,
    None => panic!("the year 9999 can be represented"),
};

impl CreateTimeRange {
    /// A range; an absent bound does not restrict it.
    pub fn new(after: Option<Time>, before: Option<Time>) -> Self {
        Self {
            after: after.unwrap_or(DateTime::UNIX_EPOCH),
            before: before.unwrap_or(LATEST),
        }
    }

    /// Whether it contains every row.
    pub fn is_unbounded(&self) -> bool {
        *self == Self::new(None, None)
    }
}

/// Part of the name of a filtered list; empty if there is no filter.
impl fmt::Display for CreateTimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_unbounded() {
            true => Ok(()),
            false => write!(
                f,
                "/{}/{}",
                self.after.timestamp_micros(),
                self.before.timestamp_micros()
            ),
        }
    }
}

/// Which projects, or which destinations of a project, a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListFilter {
    /// Only disabled ones, or only those that are not; `None` means both.
    pub disabled: Option<bool>,
    /// Only those created in this range.
    pub created: CreateTimeRange,
}

impl ListFilter {
    /// Whether it excludes nothing.
    pub fn is_empty(&self) -> bool {
        self.disabled.is_none() && self.created.is_unbounded()
    }
}

/// Part of the name of a filtered list; empty if there is no filter.
impl fmt::Display for ListFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.created)?;
        match self.disabled {
            None => Ok(()),
            Some(disabled) => write!(f, "/disabled={disabled}"),
        }
    }
}
