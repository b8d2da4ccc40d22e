use serde::{Deserialize, Serialize};

/// The state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamStatus {
    /// A publisher was accepted, but no media has arrived.
    Connecting,
    /// Media is arriving.
    Live,
    /// The connection was lost, and the stream waits for the publisher.
    Reconnecting,
    /// It has ended.
    Ended,
}

impl StreamStatus {
    /// The states of streams that have not ended.
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

    /// Parses the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}
