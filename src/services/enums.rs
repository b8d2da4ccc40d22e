//! Conversions of enums between messages and the domain.

use crate::{
    domain::{
        CheckOutcome, CheckStep, EndReason, IngestProtocol, Invalid, LintCode, MediaIssueCode,
        OperatorKeyState, OutagePolicy, Platform, PlatformKind, PlatformTls, PublishConflictPolicy,
        RefusalReason, RelayState, Role, StreamState, UserState, WebhookDeliveryState,
        WebhookDisableReason,
    },
    proto::v1 as pb,
};

/// A domain enum, and the enum of messages that has a value of the same name for each of its
/// values.
pub(super) trait MessageEnum: Copy + 'static {
    /// The enum of messages.
    type Message: From<Self> + Into<i32>;
    /// All values of the domain.
    const VALUES: &'static [Self];
}

/// Implements [`MessageEnum`], and the conversion into the enum of messages.
///
/// A macro, because the values would otherwise be written for each direction.
macro_rules! message_enums {
    ($($Domain:ident => $Message:ident { $($Value:ident)+ })+) => {$(
        impl MessageEnum for $Domain {
            type Message = pb::$Message;
            const VALUES: &'static [Self] = &[$(Self::$Value),+];
        }

        impl From<$Domain> for pb::$Message {
            fn from(value: $Domain) -> Self {
                match value {
                    $($Domain::$Value => Self::$Value,)+
                }
            }
        }
    )+};
}

message_enums! {
    CheckOutcome => DestinationCheckOutcome { Passed Failed }
    CheckStep => DestinationCheckStep { Name Address Tcp Tls Rtmp Application Srt }
    EndReason => EndReason {
        PublisherEnded ReconnectTimeout HeartbeatTimeout StoppedByOwner TakenOver KeyRotated
        ProjectDisabled ProjectDeleted NodeLost NeverStarted AccountSuspended
        QuotaExceeded
    }
    MediaIssueCode => MediaIssueCode {
        KeyframeIntervalTooLong BitrateOverLimit NoAudio CodecNotAccepted DestinationTooSlow
        TimestampJump NoCapacity
    }
    OperatorKeyState => OperatorKeyState { Active Expired Revoked }
    OutagePolicy => OutagePolicy { End Hold }
    Platform => Platform {
        Custom Youtube Twitch Facebook X Kick AmazonIvs Linkedin Tiktok Instagram Rumble Trovo
        Restream Mux Cloudflare Livepeer Castr Switchboard Steam Dlive Nimo Picarto Bilibili
        Chzzk Soop Niconico Kakaotv Vimeo
    }
    PlatformKind => PlatformKind { Static Regional PerAccount PerEvent }
    PublishConflictPolicy => PublishConflictPolicy { RejectNew Takeover }
    RefusalReason => ErrorReason {
        StreamKeyInvalid PublishConflict ProjectDisabled PublishHeld AccountSuspended QuotaExceeded
    }
    RelayState => RelayState {
        Idle Starting Broadcasting Holding Stalled Retrying Failed Stopping Draining
    }
    Role => OrganizationRole { Owner Admin Producer Viewer }
    StreamState => StreamState { Connecting Live Reconnecting Ended }
    UserState => UserState { Active Suspended }
    WebhookDeliveryState => WebhookDeliveryState { Delivered Retrying Failed }
    WebhookDisableReason => WebhookDisableReason { Failing Gone AccountTakenOver }
}

impl From<IngestProtocol> for pb::IngestProtocol {
    fn from(protocol: IngestProtocol) -> Self {
        match protocol {
            IngestProtocol::Unknown => Self::Unspecified,
            IngestProtocol::Rtmp => Self::Rtmp,
            IngestProtocol::Rtmps => Self::Rtmps,
            IngestProtocol::Srt => Self::Srt,
            IngestProtocol::Whip => Self::Whip,
            IngestProtocol::Rtsp => Self::Rtsp,
        }
    }
}

impl From<LintCode> for pb::DestinationLintCode {
    fn from(code: LintCode) -> Self {
        match code {
            LintCode::PlainRtmp => Self::PlainRtmp,
            LintCode::DuplicateDestination => Self::DuplicateDestination,
            LintCode::UnknownHost => Self::UnknownHost,
            LintCode::PlatformRecognized => Self::PlatformRecognized,
            LintCode::UnusedSrtOptions => Self::UnusedSrtOptions,
            LintCode::UrlOutdated => Self::UrlOutdated,
            LintCode::KeyIsUrl => Self::KeyIsUrl,
            LintCode::KeyOfAnotherPlatform => Self::KeyOfAnotherPlatform,
            LintCode::KeyIsPlaceholder => Self::KeyIsPlaceholder,
        }
    }
}

impl From<PlatformTls> for pb::PlatformTls {
    fn from(tls: PlatformTls) -> Self {
        match tls {
            PlatformTls::Unknown => Self::Unspecified,
            PlatformTls::Required => Self::Required,
            PlatformTls::Offered => Self::Offered,
            PlatformTls::None => Self::None,
        }
    }
}

/// Reads an enum value that must not be unspecified (0) or unknown.
pub(super) fn read_enum<D: MessageEnum>(value: i32) -> Result<D, Invalid> {
    let number = |known: D| -> i32 { D::Message::from(known).into() };
    let mut values = D::VALUES.iter().copied();
    let known = values.find(|known| number(*known) == value);
    known.ok_or_else(unspecified)
}

/// Reads the value of a filter, which is unspecified (0) if it matches everything.
pub(super) fn read_filter<D: MessageEnum>(value: i32) -> Result<Option<D>, Invalid> {
    match value {
        0 => Ok(None),
        _ => read_enum(value)
            .map(Some)
            .map_err(|_| Invalid::because("must be one of the values of its enum")),
    }
}

/// Reads the protocol of a publisher, which may be unspecified.
pub(super) fn read_protocol(value: i32) -> Result<IngestProtocol, Invalid> {
    let number = |known| i32::from(pb::IngestProtocol::from(known));
    let mut values = IngestProtocol::ALL.into_iter();
    let known = values.find(|known| number(*known) == value);
    known.ok_or_else(|| Invalid::because("must be one of the values of its enum"))
}

/// Reads whether an error of a relay is fatal.
pub(super) fn read_is_fatal(severity: i32) -> Result<bool, Invalid> {
    match pb::RelayErrorSeverity::try_from(severity) {
        Ok(pb::RelayErrorSeverity::Fatal) => Ok(true),
        Ok(pb::RelayErrorSeverity::Retryable) => Ok(false),
        Ok(pb::RelayErrorSeverity::Unspecified) | Err(_) => Err(unspecified()),
    }
}

fn unspecified() -> Invalid {
    Invalid::because("must be one of the values of its enum, not unspecified")
}
