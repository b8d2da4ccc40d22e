//! Organizations, their members and invitations.

mod api_keys;
mod audit_events;
pub mod fixture;
mod invitations;
mod members;
mod organizations;
mod projects;
mod watches;
mod webhooks;
