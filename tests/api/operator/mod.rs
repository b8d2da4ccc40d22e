//! OperatorService, the keys that are bound to a node, and the commands for operators.

mod admin_commands;
mod audit_events;
mod bound_keys;
mod drain_node;
mod first_key;
mod fixture;
mod keys;
mod lists;
mod maintenance_output;
mod organizations;
mod page_tokens;
mod suspension;
mod time_limits;
mod users;
mod validation;
