use clap::Args;

use super::parse::within;
use crate::repositories::OrganizationLimits;

/// The settings of organizations.
#[derive(Debug, Clone, Args)]
pub struct OrganizationSettings {
    /// Maximum number of organizations of a user, beside the personal one.
    #[arg(long, env = "SLUICE_MAX_ORGANIZATIONS", default_value = "20", value_parser = within(0..=10_000))]
    pub max_organizations: u32,

    /// Maximum number of members of an organization.
    #[arg(long, env = "SLUICE_MAX_MEMBERS", default_value = "200", value_parser = within(1..=10_000))]
    pub max_members: u32,

    /// Maximum number of invitations that an organization sends within 7 days.
    #[arg(long, env = "SLUICE_MAX_INVITATIONS", default_value = "100", value_parser = within(0..=10_000))]
    pub max_invitations: u32,
}

impl OrganizationSettings {
    /// The limits of organizations.
    pub fn limits(&self) -> OrganizationLimits {
        OrganizationLimits {
            organizations: self.max_organizations.into(),
            members: self.max_members.into(),
            invitations: self.max_invitations.into(),
        }
    }
}
