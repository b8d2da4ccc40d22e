//! The relays of a worker, each under its lease.

mod entries;
mod reporting;
#[cfg(test)]
mod tests;

pub(super) use entries::{Assignments, NewRelay};
