use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// How long a stream waits for its publisher to reconnect: 0 to 30 minutes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconnectWindow(Duration);

impl ReconnectWindow {
    const MAX: Duration = Duration::from_secs(30 * 60);

    /// Checks the bounds, and drops fractions of a millisecond.
    pub fn parse(window: Duration) -> Result<Self, Invalid> {
        if window > Self::MAX {
            return Err(Invalid::because("must be 0 to 30 minutes"));
        }
        Ok(Self(Duration::from_millis(
            u64::try_from(window.as_millis()).unwrap_or(0),
        )))
    }

    /// The window as a duration.
    pub fn as_duration(self) -> Duration {
        self.0
    }

    /// The window in milliseconds, as in the database.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether a stream ends as soon as its publisher disconnects.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl Default for ReconnectWindow {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}
