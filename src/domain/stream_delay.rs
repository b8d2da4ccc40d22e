use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Invalid, invalid::refuse};

/// How much later than it arrives the media is sent to a destination: 0 to 60 seconds, in
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamDelay(i32);

impl StreamDelay {
    const MAX_MS: i32 = 60_000;

    /// Checks the bounds, and drops fractions of a millisecond.
    pub fn parse(delay: Duration) -> Result<Self, Invalid> {
        match i32::try_from(delay.as_millis()) {
            Ok(millis @ 0..=Self::MAX_MS) => Ok(Self(millis)),
            _ => refuse("must be 0 to 60 seconds"),
        }
    }

    /// The delay in the database, in milliseconds.
    pub const fn from_millis(millis: i32) -> Self {
        match millis {
            ..0 => Self(0),
            0..=Self::MAX_MS => Self(millis),
            _ => Self(Self::MAX_MS),
        }
    }

    /// The delay in milliseconds, as in the database.
    pub fn as_millis(self) -> i32 {
        self.0
    }

    /// Whether there is no delay.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The delay as a duration.
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_0_to_60_seconds() {
        for millis in [0, 1, 60_000] {
            let delay = StreamDelay::parse(Duration::from_millis(millis)).unwrap();
            assert_eq!(delay.as_duration(), Duration::from_millis(millis));
            assert_eq!(StreamDelay::from_millis(delay.as_millis()), delay);
        }
        for millis in [60_001, u64::MAX] {
            assert!(StreamDelay::parse(Duration::from_millis(millis)).is_err());
        }
    }
}
