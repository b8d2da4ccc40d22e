//! Periodic jobs. Each one runs on every replica; replicas may run it at the same time.

mod credential_refresh;
mod mailer;
mod purge;
mod timeouts;

pub use credential_refresh::{CredentialRefresh, KeyRefresh};
pub use mailer::Mailer;
pub use purge::{prune_events, purge};
pub use timeouts::{expire_relays, expire_streams};
