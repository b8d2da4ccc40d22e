//! Periodic work. Each job may run on many replicas at once.

mod event_pruning;
mod key_watch;
mod mailer;
mod purge;
mod reaper;
mod resealing;
mod trust;

pub use event_pruning::EventPruning;
pub use key_watch::KeyWatch;
pub use mailer::Mailer;
pub use purge::Purge;
pub use reaper::Reaper;
pub use resealing::{Pass, Resealing};
pub use trust::Trust;
