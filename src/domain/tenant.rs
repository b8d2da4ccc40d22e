use super::{ApiKeyId, OrganizationId, Scope, Scopes, UserId};

text_enum! {
    /// What a member of an organization may do: a set of scopes. Each role has the scopes of the
    /// next one, and more.
    #[derive(PartialOrd, Ord)]
    pub enum Role {
        /// Everything, and the organization itself.
        Owner = "owner",
        /// Everything, except the owners and the deletion of the organization.
        Admin = "admin",
        /// Projects, destinations and streams.
        Producer = "producer",
        /// Read only.
        Viewer = "viewer",
    }
}

impl Role {
    /// The scopes of a member with this role.
    pub fn scopes(self) -> Scopes {
        const VIEWER: [Scope; 4] = [
            Scope::ProjectsRead,
            Scope::StreamsRead,
            Scope::WebhooksRead,
            Scope::UsageRead,
        ];
        const PRODUCER: [Scope; 2] = [Scope::ProjectsWrite, Scope::StreamsWrite];
        const ADMIN: [Scope; 1] = [Scope::WebhooksWrite];
        let viewer = VIEWER.into_iter();
        match self {
            Self::Viewer => viewer.collect(),
            Self::Producer => viewer.chain(PRODUCER).collect(),
            Self::Admin | Self::Owner => viewer.chain(PRODUCER).chain(ADMIN).collect(),
        }
    }

    /// The lowest role that has all of these scopes. [`Role::Owner`] for scopes that no role has.
    pub fn lowest_with(scopes: &[Scope]) -> Self {
        let mut roles = Self::ALL.into_iter().rev();
        let has_all = |role: &Self| scopes.iter().all(|scope| role.scopes().contains(*scope));
        roles.find(has_all).unwrap_or(Self::Owner)
    }

    /// Whether it is a role or a higher one.
    pub fn includes(self, role: Self) -> bool {
        self <= role
    }

    /// The names of this role and of all higher ones.
    pub const fn and_higher(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "owner admin",
            Self::Producer => "owner admin producer",
            Self::Viewer => "owner admin producer viewer",
        }
    }
}

/// Whose data a call may access: that of the organizations in which its user is a member.
///
/// Every repository method on owned data has it as a parameter and in its `where` clause, so that
/// rows of other tenants are not found.
#[derive(Debug, Clone, Copy)]
pub struct Tenant {
    /// The user.
    pub user: UserId,
    /// The API key of a program, which accesses one organization only: that of the key.
    pub key: Option<ApiKeyId>,
    /// Whether the key is restricted to some of the projects.
    pub restricted: bool,
    /// The organization whose data the call lists, and for which it creates.
    pub organization: OrganizationId,
    /// The lowest role that the call requires.
    pub role: Role,
}

impl Tenant {
    /// A user, who reads in the personal organization.
    pub fn of_user(user: UserId) -> Self {
        Self {
            user,
            key: None,
            restricted: false,
            organization: OrganizationId::personal(user),
            role: Role::Viewer,
        }
    }

    /// The same, for a call that requires this role at least.
    #[must_use]
    pub fn requiring(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same in another organization.
    #[must_use]
    pub fn in_organization(self, organization: OrganizationId) -> Self {
        Self {
            organization,
            ..self
        }
    }

    /// Whether the organization is the personal one of the user.
    pub fn is_personal(&self) -> bool {
        self.organization == OrganizationId::personal(self.user)
    }

    /// The roles that suffice, as the database compares them.
    pub fn roles(&self) -> &'static str {
        self.role.and_higher()
    }
}

#[cfg(test)]
mod tests {
    use super::Role;
    use crate::domain::Scope;

    #[test]
    fn each_role_has_the_scopes_of_the_next_one() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
            for scope in pair[1].scopes().iter() {
                assert!(pair[0].scopes().contains(scope), "{pair:?} {scope:?}");
            }
        }
    }

    #[test]
    fn an_owner_has_the_scopes_of_users_and_no_other() {
        assert_eq!(
            Role::Owner.scopes(),
            Scope::USER_SCOPES.into_iter().collect()
        );
    }

    #[test]
    fn the_lowest_role_with_scopes_has_all_of_them() {
        let reads = [Scope::ProjectsRead, Scope::StreamsRead];
        assert_eq!(Role::lowest_with(&reads), Role::Viewer);
        assert_eq!(Role::lowest_with(&[Scope::StreamsWrite]), Role::Producer);
        let sends = [Scope::WebhooksWrite, Scope::ProjectsRead];
        assert_eq!(Role::lowest_with(&sends), Role::Admin);
        assert_eq!(Role::lowest_with(&[Scope::OperatorRead]), Role::Owner);
    }

    #[test]
    fn the_names_of_a_role_and_higher_ones_contain_no_lower_one() {
        for role in Role::ALL {
            for other in Role::ALL {
                let is_named = role
                    .and_higher()
                    .split(' ')
                    .any(|name| name == other.as_str());
                assert_eq!(is_named, other <= role);
            }
        }
    }
}
