//! What `sluice api` prints, and clients in other languages that use it.

mod api_command;
pub mod example;
mod examples;
mod old_toolchains;
mod restarts;
mod service_config;
