//! Relays: claimed, run and reported.

mod carrier;
mod fault;
mod worker;

pub use worker::RelayTerms;
pub(super) use worker::run;
