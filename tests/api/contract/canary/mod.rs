//! Secrets that enter the program do not leak from it.

mod account_rpcs;
mod leaks;
mod operator_rpcs;
mod organization_rpcs;
pub mod recorder;
mod relay_rpcs;
mod scanner;
mod stream_rpcs;
mod usage_rpcs;
mod webhook_rpcs;
