//! Periodic jobs. Each one runs on every replica; replicas may run it at the same time.

mod batches;
mod credential_refresh;
mod deletions;
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
pub use mailer::Mailer;
pub use media_health::monitor_media;
pub use purge::{Retention, prune_events, purge};
pub use suspensions::end_suspended_streams;
pub use timeouts::{expire_relays, expire_streams};
pub use usage::record_usage;
pub use webhooks::{WebhookDispatchSettings, WebhookDispatcher};
