//! Organizations, their members and invitations.

mod invitations;
mod members;
#[expect(
    clippy::module_inception,
    reason = "the repository of the group's own noun"
)]
mod organizations;
pub(super) mod rows;

pub use organizations::{OrganizationLimits, Organizations};
