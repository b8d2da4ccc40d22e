//! Programs are killed with SIGKILL during writes and watches: acknowledged writes survive, and
//! watchers resume on another program.

mod accounts;
mod api_keys;
pub mod caller;
pub mod counts;
mod destinations;
mod killed_servers;
mod nodes;
mod operators;
mod projects;
mod publishes;
mod relays;
mod renames;
mod sessions;
mod stream_keys;
mod watches;
mod webhooks;
mod writer;
mod written_rpcs;
