//! Programs are killed with SIGKILL during writes and watches: acknowledged writes survive, and
//! watchers resume on another program.

mod accounts;
mod api_keys;
pub mod caller;
pub mod counts;
pub mod destinations;
mod killed_servers;
pub mod nodes;
mod operators;
pub mod projects;
pub mod publishes;
pub mod relays;
pub mod renames;
mod sessions;
mod stream_keys;
pub mod watches;
mod webhooks;
pub mod writer;
mod written_rpcs;
