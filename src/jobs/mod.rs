//! Periodic jobs. Each one has a leader among the replicas, which runs it. A run of another replica
//! does nothing. For a moment two replicas may believe that they lead, so a job may run twice at a
//! time. The mailer and the dispatcher of webhooks take rows by lease, and run on every replica.

mod batches;
mod credential_refresh;
mod deletions;
mod drains;
mod mailer;
mod media_health;
mod purge;
mod retries;
mod suspensions;
mod timeouts;
mod usage;
mod webhooks;

pub use credential_refresh::{CredentialRefresh, KeyRefresh};
pub use deletions::{delete_orphaned_projects, purge_deleted};
pub use drains::move_relays;
pub use mailer::Mailer;
pub use media_health::monitor_media;
pub use purge::{Retention, prune_events, purge};
pub use suspensions::end_suspended_streams;
pub use timeouts::{expire_relays, expire_streams};
pub use usage::record_usage;
pub use webhooks::{WebhookDispatchSettings, WebhookDispatcher};
