//! Calls during database faults.

mod cancelled_calls;
mod faults;
mod group_commit;
mod lost_commit_answer;
mod transaction_errors;
mod workload;
