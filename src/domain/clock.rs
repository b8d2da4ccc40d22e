use chrono::{DateTime, SubsecRound, Utc};

/// A point in time, in microseconds: the precision that both database engines keep.
pub type Time = DateTime<Utc>;

/// The current time.
pub fn now() -> Time {
    Utc::now().trunc_subsecs(6)
}
