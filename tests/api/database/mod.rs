//! Calls during database faults.

mod cancelled_calls;
mod group_commit;
mod lost_commit_answer;
mod postgres_faults;
mod transaction_errors;
mod workload;
