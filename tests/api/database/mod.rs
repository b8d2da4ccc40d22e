//! Calls during database faults.

mod cancelled_calls;
mod connect_failures;
mod failover;
mod group_commit;
mod lost_commit_answer;
mod migrations;
mod postgres_faults;
mod transaction_errors;
mod workload;
