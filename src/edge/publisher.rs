use std::{convert::Infallible, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::oneshot;

use crate::{
    domain::Secret,
    proto::v1::{EndReason, ErrorReason, IngestProtocol, StreamStats},
};

/// The characters that are percent-encoded in a path segment.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The id of one publish of one connection within a boot of its media server: 1 to 128
/// visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConnectionId(String);

impl ConnectionId {
    /// Parses an id of the media server; `None` if it is not valid.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_valid =
            matches!(text.len(), 1..=128) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_valid.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A publisher as its media server describes it.
#[derive(Debug, Clone)]
pub(super) struct PublishRequest {
    pub(super) id: ConnectionId,
    /// The stream key that it presented.
    pub(super) stream_key: Secret,
    /// Its IP address; may be empty.
    pub(super) peer_address: String,
    pub(super) protocol: IngestProtocol,
    /// The URL from which relays read its media.
    pub(super) play_url: Secret,
}

impl PublishRequest {
    /// The URL from which relays read a stream: the server's URL, followed by these paths.
    pub(super) fn play_url(rtmp_url: &str, paths: &[&str]) -> Secret {
        let segments = paths.iter().flat_map(|path| path.split('/'));
        let url = segments.fold(rtmp_url.to_owned(), |url, segment| {
            format!("{url}/{}", utf8_percent_encode(segment, ENCODED))
        });
        Secret::new(url)
    }
}

/// A stream whose publisher was accepted.
#[derive(Debug)]
pub(super) struct AcceptedStream {
    pub(super) stream_id: String,
    pub(super) connection_id: String,
    /// The URL at which its media is played.
    pub(super) play_url: Secret,
    /// Dropped when the media server has answered the request to play it.
    pub(super) unplayed: oneshot::Sender<Infallible>,
}

/// Why a connection must not publish, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishError {
    /// The control plane refused it for this reason.
    Refused(ErrorReason),
    /// The control plane ordered it to stop.
    Stopped(EndReason),
    /// The control plane is unreachable, and this connection is not live.
    Unreachable,
    /// The control plane has been unreachable for longer than the grace period.
    GraceExpired,
}

impl PublishError {
    /// Whether the control plane decided so; otherwise it is unreachable.
    pub(super) fn is_decision(self) -> bool {
        match self {
            Self::Refused(_) | Self::Stopped(_) => true,
            Self::Unreachable | Self::GraceExpired => false,
        }
    }

    /// The reason as a sentence, for the logs of media servers.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Refused(reason) => match reason {
                ErrorReason::StreamKeyInvalid => "the stream key is not valid",
                ErrorReason::AccountSuspended => "the account or the organization is suspended",
                ErrorReason::PublishConflict => "the project already has another publisher",
                ErrorReason::ProjectDisabled => "the project is disabled",
                ErrorReason::PublishHeld => "the owner has put publishing on hold",
                ErrorReason::QuotaExceeded => "the quota of the organization is reached",
                ErrorReason::ConnectionEnded => "this connection has ended",
                ErrorReason::NodeSuperseded => {
                    "another run of this media server is the current one"
                }
                _ => "the control plane refuses",
            },
            Self::Stopped(reason) => match reason {
                EndReason::StoppedByOwner => "the owner has stopped the stream",
                EndReason::TakenOver => "another publisher has taken over",
                EndReason::KeyRotated => "the stream key is not valid any more",
                EndReason::AccountSuspended => "the account or the organization is suspended",
                EndReason::QuotaExceeded => "the quota of the organization is reached",
                EndReason::ProjectDisabled => "the project is disabled",
                EndReason::ProjectDeleted => "the project is deleted",
                _ => "the stream has ended",
            },
            Self::Unreachable => "the control plane does not answer",
            Self::GraceExpired => "the control plane has not answered for too long",
        }
    }
}

/// A publishing connection in the media server's own list.
#[derive(Debug, Clone)]
pub(super) struct ObservedPublisher {
    pub(super) id: ConnectionId,
    /// Its publish request; `None` where the server does not expose the stream key.
    pub(super) request: Option<PublishRequest>,
    /// What the server measures; `None` if it measures nothing.
    pub(super) stats: Option<StreamStats>,
}

/// The publishers of a media server at one time.
#[derive(Debug, Clone)]
pub(super) struct PublisherSnapshot {
    /// The boot of the server: a new id at each start.
    pub(super) boot_id: String,
    pub(super) publishers: Vec<ObservedPublisher>,
    /// The longest time until an accepted connection is in the list.
    pub(super) listing_delay: Duration,
}

impl PublisherSnapshot {
    /// The listing delay of servers that list a connection before its first media.
    pub(super) const USUAL_LISTING_DELAY: Duration = Duration::from_secs(5);
}
