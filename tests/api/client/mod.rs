//! The client commands of `sluice`, as processes against a server.

mod account;
mod api_keys;
mod destinations;
mod documents;
mod email;
mod errors;
mod export;
mod factors;
pub mod fixture;
mod projects;
mod recent_authentication;
mod streams;
mod terminal;
mod tls;
mod token_refresh;
mod usage;
mod watch;
mod webhooks;
