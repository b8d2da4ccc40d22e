//! Periodic jobs. Each one runs on every replica; replicas may run it at the same time.
//!
//! A file has the name of its job in the metrics.

mod credential_refresh;
mod event_pruning;
mod key_refresh;
mod mailer;
mod purge;
mod quiet_period;
mod reaper;
mod relay_watch;
mod resealing;

pub use credential_refresh::CredentialRefresh;
pub use event_pruning::EventPruning;
pub use key_refresh::KeyRefresh;
pub use mailer::Mailer;
pub use purge::Purge;
pub use reaper::Reaper;
pub use relay_watch::RelayWatch;
pub use resealing::{ResealCounts, Resealing};
