//! Relays: claimed under a lease, reported, restarted and stopped.

mod claimable;
mod claims;
mod lease_renewals;
mod moves;
mod overdue;
pub(super) mod progress;
#[expect(
    clippy::module_inception,
    reason = "the repository of the group's own noun"
)]
mod relays;
mod reports;
pub(super) mod rows;
pub(super) mod stream_changes;
mod workers;

pub use claims::{ClaimedRelay, ClaimingWorker, RelayLeases, WorkerLease};
pub use overdue::RelayKey;
pub use relays::Relays;
pub use workers::Workers;
