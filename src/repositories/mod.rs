//! SQL: one repository per noun, on either engine.
//!
//! Each public method is one statement, or one transaction that begins and commits
//! inside it. The [`Tenant`](crate::domain::Tenant) is a parameter of every method on
//! owned data, and part of its `where` clause (`sql`).

mod accounts;
mod audit_log;
mod deletions;
mod destination_checks;
mod idempotency;
mod key_records;
mod media_health;
mod organizations;
mod outbox;
mod projects;
mod quotas;
mod relays;
mod resource_counts;
mod sealed_columns;
mod sql;
mod streams;
mod usage;
mod webhooks;

pub use accounts::{
    ApiKeys, BegunRegistration, ConfirmedEmail, CountedAttempt, EmailChanges, FailedAttempts,
    Identities, IssuedToken, KnownNetworks, ListedKeys, MailTokens, NewOperatorKey, NewPasskey,
    NewSecondFactor, NewSecret, NewUser, Notices, OperatorKeys, Passkeys, Recipient,
    RepeatableSecret, RevocationCursor, SecondFactorProof, SecondFactors, Sessions, SignedIn,
    StoredPasskey, TokenRevocations, UserAccounts, Users, VerifiedCredential, VerifiedSecondFactor,
};
pub use audit_log::AuditLog;
pub use deletions::{DeletedKind, DeletionStep, Deletions};
pub use destination_checks::{CheckProgress, DestinationChecks, StoredCheck};
pub use idempotency::{ChangeOptions, Created, IdempotencyKey};
pub use key_records::KeyRecords;
pub use media_health::{MediaHealth, MonitoredRelay, MonitoredStream};
pub use organizations::{OrganizationLimits, Organizations};
pub use outbox::Outbox;
pub use projects::{
    Destinations, EventRange, Events, NewProject, NewStreamKey, Projects, ResumePoint,
    SealedChange, SealedDestination, SealedTarget, StoredDestination, StreamKeyRotation,
    StreamKeys,
};
pub use quotas::Quotas;
pub use relays::{
    ClaimedRelay, ClaimingWorker, RelayKey, RelayLeases, Relays, WorkerLease, Workers,
};
pub use resource_counts::ResourceCounts;
pub use sealed_columns::{SealedColumn, SealedValue};
pub use streams::{
    LiveStreams, Nodes, PublishAttempt, Publishing, Refusals, StreamFilter, StreamSamples, Streams,
};
pub use usage::UsageRecords;
pub use webhooks::{DueEvents, SecretRotation, WebhookDeliveries, WebhookQueue, Webhooks};
