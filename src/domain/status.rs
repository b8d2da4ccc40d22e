use serde::{Deserialize, Serialize};

/// Where a stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A publisher was accepted; no media yet.
    Connecting,
    /// Media flows.
    Live,
    /// The connection is lost; the stream waits for the publisher.
    Reconnecting,
    /// Over.
    Ended,
}

impl Status {
    /// Those of streams that have not ended.
    pub const UNENDED: [Self; 3] = [Self::Connecting, Self::Live, Self::Reconnecting];

    const ALL: [Self; 4] = [
        Self::Connecting,
        Self::Live,
        Self::Reconnecting,
        Self::Ended,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Reconnecting => "reconnecting",
            Self::Ended => "ended",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}
