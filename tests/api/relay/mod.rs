//! RPCs of StreamService for relays.

mod capacity;
mod check_destination;
mod claim_relays;
mod concurrent_claims;
mod destination_changes;
mod drains;
pub mod fixture;
mod holds;
mod leases;
mod media_health;
mod previous_workers;
mod random_transitions;
mod report_relays;
mod retries;
mod revocations;
mod stalls;
mod start_and_stop;
mod statement_count;
mod stream_lifecycle;
mod tenancy;
mod validation;
mod watch_projects;
pub mod worker;
mod worker_leases;
