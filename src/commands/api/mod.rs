//! `sluice api`: the contract for clients in other languages.

mod command;
mod service_config;

pub(super) use command::{Api, run};
