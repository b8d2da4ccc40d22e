//! The contract as a whole: what holds for every RPC, error and setting.

mod access_tokens;
mod authorization;
pub mod canary;
mod conventions;
pub mod descriptors;
pub mod dump;
mod env_example;
mod errors;
mod etags;
mod fault_table;
mod id_fields;
mod list_filters;
mod lists;
mod named_tests;
mod page_tokens;
mod promises;
mod rate_limits;
pub mod raw_rpc;
mod redaction;
mod request_ids;
mod security_page;
mod tenancy_matrix;
mod tenant_isolation;
mod x_forwarded_for;
mod x_request_id;
