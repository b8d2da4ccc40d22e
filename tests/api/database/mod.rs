//! Calls during database faults.

mod absent_standby;
mod cancelled_calls;
mod connect_failures;
mod failover;
mod full_disk;
mod full_disk_postgres;
mod group_commit;
mod interrupted_statements;
mod lost_commit_answer;
mod migrations;
mod organizations;
mod postgres_faults;
mod query_plans;
mod sqlite_file;
mod transaction_errors;
mod workload;
