//! The domain types: parsed once, and valid from then on.
//!
//! Nothing here knows SQL, gRPC or cryptography.

#[macro_use]
mod text_enum;

mod api_key;
mod audit_event;
mod clock;
mod destination;
mod destination_check;
mod destination_host;
mod destination_lint;
mod destination_url;
mod email;
mod email_message;
mod event;
mod health_issue;
mod id;
mod invalid;
mod invisible_characters;
mod key_record;
mod list_filter;
mod media_checks;
mod media_issue;
mod name;
mod node;
mod node_reconciliation;
mod operator;
mod organization;
mod passkey;
mod password;
mod peer_address;
mod platform;
mod platform_catalogue;
mod platform_rules;
mod project;
mod publish_decision;
mod publisher;
mod quota;
mod relay;
mod relay_error;
mod relay_move;
mod relay_report;
mod relay_wait;
mod rendition;
mod scope;
mod second_factor;
mod secret;
mod silence;
mod srt;
mod stream;
mod stream_delay;
mod stream_key_lint;
mod stream_sample;
mod tenant;
mod usage;
mod user;
mod web_origin;
mod webhook;
mod webhook_url;

pub use api_key::{ApiKey, NewApiKey};
pub use audit_event::{AuditContext, AuditEvent, OrganizationAuditEvent};
pub use clock::{ClockComparison, Time, now};
pub use destination::{
    Destination, DestinationUpdate, StreamTarget, relay_output_url, relay_server_url,
};
pub use destination_check::{CheckOutcome, CheckResult, CheckStep};
pub use destination_host::UrlPolicy;
pub use destination_lint::{DestinationLint, LintCode};
pub use destination_url::{IngestUrl, Scheme};
pub use email::Email;
pub use email_message::{EmailKind, EmailMessage, EmailMessageId};
pub use event::{Change, Event, LiveStream, ProjectSnapshot};
pub use health_issue::{Issue, IssueCode, ProjectIssues};
pub use id::{
    ApiKeyId, AuditEventId, DestinationId, Id, InvitationId, OrganizationId, Page, PasskeyId,
    ProjectId, RefusalId, SecondFactorId, SessionId, StreamId, UsageRecordId, UserId,
    WebhookDeliveryId, WebhookId,
};
pub use invalid::{Invalid, Violation};
pub(crate) use invisible_characters::reject_invisible_in_setting;
pub use key_record::{KeyPurpose, KeyRecord};
pub use list_filter::{CreateTimeRange, ListFilter};
pub use media_issue::{MediaIssue, MediaIssueCode};
pub use name::Name;
pub use node::{Node, NodeId, Worker};
pub use node_reconciliation::{NodeConnection, NodeReconciliation, NodeReport, UnmatchedAction};
pub use operator::{
    AuditFilter, OperatorAuditEvent, OperatorKey, OperatorKeyState, OperatorLiveStream,
    OrganizationAccount, OrganizationAccountFilter, OrganizationState, UserAccount, UserFilter,
    UserState,
};
pub use organization::{Invitation, Member, NewInvitation, Organization, OrganizationUpdate};
pub use passkey::Passkey;
pub use password::Password;
pub use peer_address::{PeerAddress, RequestOrigin};
pub use platform::Platform;
pub use platform_catalogue::{PlatformInfo, PlatformKind, PlatformLimits, PlatformTls};
pub use project::{OutagePolicy, Project, ProjectUpdate, PublishConflictPolicy, ReconnectWindow};
pub use publish_decision::{BeginDecision, PublishRules, Refusal, RefusalCause, RefusalReason};
pub use publisher::{IngestProtocol, Publisher};
pub use quota::{Quota, QuotaExcess, QuotaKind};
pub use relay::{OutgoingLease, Relay, RelayDelivery, RelayLease, RelayState, RelayTimeouts};
pub use relay_error::RelayError;
pub use relay_move::{DRAINING_CLAIM_DELAY, MIN_RUN};
pub use relay_report::{RelayReport, ReportOutcome, ReportedState};
pub use relay_wait::RelayWaits;
pub use rendition::{VideoLimits, parse_max_height, parse_max_video_bitrate};
pub use scope::{Scope, Scopes};
pub use second_factor::{SecondFactor, SecondFactorCode};
pub use secret::{PlayUrl, SealedPlayUrl, SealedStreamKey, Secret, StreamKey};
pub use silence::StreamExpiry;
pub use srt::SrtEncryption;
pub(crate) use srt::is_passed_option;
pub use stream::{
    EndReason, MediaMeasurements, PublishAction, Stream, StreamState, StreamStats, StreamTimeouts,
};
pub use stream_delay::StreamDelay;
pub use stream_sample::StreamSample;
pub use tenant::{Role, Standing, Tenant};
pub use usage::{
    MeteredRelay, MeteredStream, StreamMeter, Usage, UsageFilter, UsageKey, UsageReading,
    UsageRecord,
};
pub use user::{EmailChange, Identity, Profile, Session, SessionTimeouts, User};
pub use web_origin::WebOrigin;
pub use webhook::{
    EventGap, NewWebhook, Webhook, WebhookAttempt, WebhookDelivery, WebhookDeliveryFilter,
    WebhookDeliveryRecord, WebhookDeliveryState, WebhookDisableReason, WebhookEventType,
    WebhookEventTypes, WebhookLease, WebhookMessage, WebhookProgress, WebhookTarget, WebhookUpdate,
};
pub use webhook_url::WebhookUrl;
