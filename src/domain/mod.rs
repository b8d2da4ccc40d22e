//! The nouns: plain types that are parsed once, at the edge, and legal from then on.
//!
//! Nothing here knows SQL, gRPC or cryptography.

mod api_key;
mod audit_event;
mod clock;
mod destination;
mod email;
mod end_reason;
mod event;
mod guess;
mod id;
mod identity;
mod ingest_host;
mod ingest_url;
mod invalid;
mod key;
mod letter;
mod name;
mod page;
mod password;
mod peer_address;
mod platform;
mod platform_catalogue;
mod project;
mod publish_gate;
mod publisher;
mod relay;
mod relay_error;
mod relay_output;
mod relay_report;
mod scope;
mod secret;
mod session;
mod status;
mod stream;
mod tenant;
mod user;

pub use api_key::{ApiKey, NewApiKey};
pub use audit_event::{Act, AuditEvent, AuditEventId};
pub use clock::{Time, now};
pub use destination::{Destination, DestinationUpdate, StreamTarget};
pub use email::Email;
pub use end_reason::EndReason;
pub use event::{Change, Event, Snapshot};
pub use guess::{GuessSubject, waits_after_failures};
pub use id::{ApiKeyId, DestinationId, Id, ProjectId, SessionId, StreamId, UserId};
pub use identity::{Identity, Profile};
pub use ingest_host::UrlPolicy;
pub use ingest_url::{IngestUrl, Scheme};
pub use invalid::{Invalid, Violation};
pub use key::{KeyPurpose, KeyRecord};
pub use letter::{Letter, LetterId, LetterKind};
pub use name::Name;
pub use page::Page;
pub use password::Password;
pub use peer_address::PeerAddress;
pub use platform::{Limits, Platform, PlatformInfo, PlatformKind, Tls};
pub use project::{
    Project, ProjectUpdate, PublishConflictPolicy, ReconnectWindow, SealedStreamKey, StreamKey,
};
pub use publish_gate::{Admission, PublishGate, Refusal};
pub use publisher::{IngestProtocol, Publisher};
pub use relay::{Lease, Relay, RelayState, RelayTimes};
pub use relay_error::RelayError;
pub use relay_output::relay_output_url;
pub use relay_report::{RelayReport, RelaySeen, Reported};
pub use scope::{Scope, Scopes};
pub use secret::Secret;
pub use session::{Origin, Session, SessionTimes};
pub use status::Status;
pub use stream::{Heartbeat, SealedPlayUrl, Stats, Stream, Timeouts};
pub use tenant::Tenant;
pub use user::User;
