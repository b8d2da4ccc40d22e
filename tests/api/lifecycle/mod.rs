//! Starting, failing, recovering and stopping.

mod database_away;
mod draining;
mod ending_sessions;
mod health;
mod keys;
mod logs;
mod panics;
mod purging;
mod starting;
