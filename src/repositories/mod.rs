//! SQL: one repository per noun, on either engine.
//!
//! Each public method is one statement, or one transaction that is begun and
//! committed inside it. The [`Tenant`](crate::domain::Tenant) is a parameter of
//! every method on owned data and stands in its `where`.

mod accounts;
mod audit_log;
mod counts;
mod idempotency;
mod key_records;
mod outbox;
mod projects;
mod relays;
mod sealed_values;
mod streams;

pub use accounts::{
    ApiKeys, EndedTokens, Guess, Guesses, Identities, MailTokens, NewUser, Proof, Sessions,
    SignedIn, Users,
};
pub use audit_log::AuditLog;
pub use counts::{Census, Counted};
pub use idempotency::{Created, IdempotencyKey};
pub use key_records::KeyRecords;
pub use outbox::Outbox;
pub use projects::{
    Destinations, Events, NewProject, Projects, SealedDestination, Snapshots, StreamKeys,
};
pub use relays::{Claimant, ClaimedRelay, HeldLease, RelayClaims, RelayKey, RelayWork, Relays};
pub use sealed_values::{SealedValue, SealedValues};
pub use streams::{NewPublish, NodeStreams, Publishing, Refusals, Streams};
