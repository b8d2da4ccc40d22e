//! Starting, failing, recovering and stopping.

mod call_log;
mod database_away;
mod draining;
mod ending_sessions;
mod health;
mod keys;
mod logs;
mod missing_keys;
mod panics;
mod purging;
pub mod starting;
mod wrong_settings;
