use chrono::{DateTime, SubsecRound, Utc};

/// A moment, in microseconds: what both engines keep without loss.
pub type Time = DateTime<Utc>;

/// The current moment.
pub fn now() -> Time {
    Utc::now().trunc_subsecs(6)
}
