//! Periodic work. Each job may run on many replicas at once.

mod credential_refresh;
mod event_pruning;
mod key_watch;
mod mailer;
mod purge;
mod quiet_period;
mod reaper;
mod relay_watch;
mod resealing;

pub use credential_refresh::Trust;
pub use event_pruning::EventPruning;
pub use key_watch::KeyWatch;
pub use mailer::Mailer;
pub use purge::Purge;
pub use reaper::Reaper;
pub use relay_watch::RelayWatch;
pub use resealing::{Pass, Resealing};
