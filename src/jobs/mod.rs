//! Periodic jobs. Each one runs on every replica; replicas may run it at the same time.

mod credential_refresh;
mod mailer;
mod purge;
mod quiet_period;
mod reaper;
mod relay_watch;
mod resealing;

pub use credential_refresh::{CredentialRefresh, KeyRefresh};
pub use mailer::Mailer;
pub use purge::{EventPruning, Purge};
pub use reaper::Reaper;
pub use relay_watch::RelayWatch;
pub use resealing::{ResealCounts, Resealing};
