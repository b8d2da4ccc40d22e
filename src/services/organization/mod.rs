//! OrganizationService: one file of RPCs per kind of resource, and their messages.

mod invitation_rpcs;
mod member_rpcs;
mod messages;
mod organization_rpcs;
mod service;

pub use service::{OrganizationDependencies, OrganizationService};
