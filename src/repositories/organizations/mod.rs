//! Organizations, their members and invitations.

mod invitations;
mod members;
mod organization_accounts;
#[expect(
    clippy::module_inception,
    reason = "the repository of the group's own noun"
)]
mod organizations;
pub(super) mod rows;

pub use organization_accounts::OrganizationAccounts;
pub use organizations::{OrganizationLimits, Organizations};
