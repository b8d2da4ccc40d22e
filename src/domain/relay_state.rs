use serde::{Deserialize, Serialize};

/// The observed state of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// No worker has it.
    Idle,
    /// A worker has it and has not sent anything yet.
    Starting,
    /// It makes progress.
    Broadcasting,
    /// A worker has it, but it makes no progress.
    Stalled,
    /// It failed and will be retried.
    Retrying,
    /// It failed permanently.
    Failed,
    /// A worker has it and has to stop it.
    Stopping,
}

impl RelayState {
    /// All states.
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

    /// Parses the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
