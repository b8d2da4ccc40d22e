//! Periodic work. Each job may run on many replicas at once.

mod mailer;
mod purge;
mod reaper;
mod trust;

pub use mailer::Mailer;
pub use purge::Purge;
pub use reaper::Reaper;
pub use trust::Trust;
