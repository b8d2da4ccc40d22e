//! Starting, failing, recovering and stopping.

mod admin_database;
mod admin_end_sessions;
mod admin_remove_second_factors;
mod call_log;
mod check_command;
mod database_outage;
mod database_start_errors;
mod draining;
mod health;
mod invalid_settings;
mod leaders;
mod log_files;
mod logs;
mod missing_sealing_keys;
mod panics;
mod purge;
mod reflection;
pub mod sealing_key_rotation;
mod setting_sources;
pub mod startup;
