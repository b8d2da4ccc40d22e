//! Starting, failing, recovering and stopping.

mod database_away;
mod draining;
mod ending_sessions;
mod health;
mod keys;
mod logs;
mod missing_keys;
mod panics;
mod purging;
mod starting;
mod wrong_settings;
