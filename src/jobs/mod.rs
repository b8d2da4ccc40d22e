//! Periodic jobs. Each one runs on every replica; replicas may run it at the same time.

mod credential_refresh;
mod mailer;
mod purge;
mod quiet_period;
mod relay_timeouts;
mod resealing;
mod stream_timeouts;

pub use credential_refresh::{CredentialRefresh, KeyRefresh};
pub use mailer::Mailer;
pub use purge::{EventPruning, Purge};
pub use relay_timeouts::RelayTimeoutJob;
pub use resealing::{ResealCounts, Resealing};
pub use stream_timeouts::StreamTimeoutJob;
