//! SQL: one repository per noun, on either engine.
//!
//! Each public method is one statement, or one transaction that is begun and
//! committed inside it. The [`Tenant`](crate::domain::Tenant) is a parameter of
//! every method on owned data and stands in its `where`.

#[macro_use]
mod engine;
mod admissions;
mod api_keys;
mod audit_log;
mod census;
mod columns;
mod copying;
mod destination_rows;
mod destinations;
mod ended_tokens;
mod events;
mod failure;
mod guesses;
mod hints;
mod idempotency;
mod identities;
mod key_records;
mod mail_tokens;
mod migrations;
mod node_boots;
mod node_streams;
mod notices;
mod outbox;
mod project_reads;
mod project_rows;
mod projects;
mod publishes;
mod publishing;
mod refusals;
mod relay_claims;
mod relay_renewal;
mod relay_rows;
mod relay_work;
mod relays;
mod revisions;
mod sealed_values;
mod session_proofs;
mod sessions;
mod snapshots;
mod stream_keys;
mod stream_rows;
mod streams;
mod users;

pub use admissions::NewPublish;
pub use api_keys::ApiKeys;
pub use audit_log::AuditLog;
pub use census::{Census, Counted};
pub use copying::{CopiedTable, CopyFailure, copy};
pub use destinations::{Destinations, SealedDestination};
pub use ended_tokens::EndedTokens;
pub use engine::{Database, DatabaseOptions, PoolState, Target};
pub use events::Events;
pub use guesses::{Guess, Guesses};
pub use hints::Hints;
pub use idempotency::{Created, IdempotencyKey};
pub use identities::{Identities, SignedIn};
pub use key_records::KeyRecords;
pub use mail_tokens::MailTokens;
pub use node_streams::NodeStreams;
pub use notices::{Heard, Listening, Notices};
pub use outbox::Outbox;
pub use projects::{NewProject, Projects};
pub use publishing::Publishing;
pub use refusals::Refusals;
pub use relay_claims::{Claimant, ClaimedRelay, HeldLease, RelayClaims};
pub use relay_work::{RelayKey, RelayWork};
pub use relays::Relays;
pub use sealed_values::{SealedValue, SealedValues};
pub use session_proofs::Proof;
pub use sessions::Sessions;
pub use snapshots::Snapshots;
pub use stream_keys::StreamKeys;
pub use streams::Streams;
pub use users::{NewUser, Users};
