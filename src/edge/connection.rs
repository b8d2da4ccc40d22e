use std::time::Duration;

use crate::{domain::Secret, proto::v1};

/// What names one publish of one publisher within a run of its media server: 1 to 128
/// visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConnectionId(String);

impl ConnectionId {
    /// Takes a name from the media server; `None` if it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits =
            matches!(text.len(), 1..=128) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A publisher as its media server tells of it.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// Its connection.
    pub(super) id: ConnectionId,
    /// What it gave as its stream key.
    pub(super) stream_key: Secret,
    /// Its IP address; may be empty.
    pub(super) peer_address: String,
    /// The protocol it speaks.
    pub(super) protocol: v1::IngestProtocol,
    /// Where relays read its media.
    pub(super) play_url: Secret,
}

/// Why a connection must not publish, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The control plane says so, for this reason.
    Answered(v1::ErrorReason),
    /// The control plane has told it to stop.
    Stopped(v1::EndReason),
    /// The control plane does not answer, and this connection is not live.
    Away,
    /// The control plane has not answered for longer than the grace.
    GraceOver,
}

/// A connection that publishes by its media server's own word.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Its connection.
    pub(super) id: ConnectionId,
    /// What the server says of it beside that; without a stream key where it is not told.
    pub(super) offer: Option<Offer>,
    /// What the server measures, if it does.
    pub(super) stats: Option<v1::StreamStats>,
}

/// Who publishes at a media server.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The server's run, new at every start.
    pub(super) boot_id: String,
    /// Every connection that publishes.
    pub(super) seen: Vec<Seen>,
    /// After how long one that was accepted stands there at the latest.
    pub(super) shown_within: Duration,
}
