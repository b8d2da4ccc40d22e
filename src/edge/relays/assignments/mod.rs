//! Which relays there are, each under its lease.

mod entries;
mod reporting;
#[cfg(test)]
mod tests;

pub(super) use entries::{Roster, Start};
