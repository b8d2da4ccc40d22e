//! ProjectService.

mod authorization;
mod batched_writes;
mod concurrent_updates;
mod create_destination;
mod create_project;
mod delete_destination;
mod delete_project;
mod destination_encryption;
mod destination_lints;
mod destination_urls;
pub mod fixtures;
mod idempotency;
mod ids;
mod invisible_characters;
mod key_storage;
mod list_destinations;
mod list_platforms;
mod list_projects;
mod rotate_stream_key;
mod row_locks;
mod rpc_refusals;
mod stream_keys;
mod tenancy;
mod update_destination;
mod update_project;
