use serde::{Deserialize, Serialize};

/// What is observed of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// Nobody works on it.
    Idle,
    /// A worker has it; nothing was sent yet.
    Starting,
    /// Its bytes grow.
    Broadcasting,
    /// A worker has it, but its bytes do not grow.
    Stalled,
    /// It failed and is tried again.
    Retrying,
    /// It failed for good.
    Failed,
    /// A worker has it and is to stop it.
    Stopping,
}

impl RelayState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Starting,
        Self::Broadcasting,
        Self::Stalled,
        Self::Retrying,
        Self::Failed,
        Self::Stopping,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Broadcasting => "broadcasting",
            Self::Stalled => "stalled",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
