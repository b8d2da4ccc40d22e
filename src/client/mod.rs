//! The client commands of `sluice`: accounts, projects, destinations, streams and relays, through
//! the same gRPC API that every other client uses.

mod account;
mod api_keys;
mod audit;
mod command;
mod destinations;
mod email;
mod error;
mod export;
mod factors;
mod invitations;
mod members;
mod names;
mod options;
mod organizations;
mod output;
mod pages;
mod profile;
mod projects;
mod refusals;
mod relays;
mod secret_input;
mod session;
mod streams;
mod text;
mod usage;
mod watch;
mod webhooks;

pub(crate) use command::{ClientCommand, run};
pub(crate) use error::{ClientError, ExitClass};
pub(crate) use options::{ClientOptions, OutputFormat};
pub(crate) use output::Table;
pub(crate) use pages::Limit;
pub(crate) use text::{label, or_dash, time};
pub(crate) use usage::quota_table;
