use super::{Email, InvitationId, Name, OrganizationId, Role, Time, UserId, project::etag};

/// An organization, as one of its members sees it.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// The name. A personal organization has that of its user.
    pub display_name: String,
    /// Whether it is the personal organization of a user.
    pub personal: bool,
    /// The role of the member.
    pub role: Role,
    /// When it was created.
    pub create_time: Time,
    /// When its own fields last changed.
    pub update_time: Time,
    /// When an operator suspended it; `None` if it is active.
    pub suspend_time: Option<Time>,
    /// Whether it requires a second factor of its members.
    pub require_second_factor: bool,
    /// Whether it requires one that the member does not have.
    pub lacks_second_factor: bool,
}

/// The changes of an organization; `None` leaves a field as it is.
#[derive(Debug, Clone)]
pub struct OrganizationUpdate {
    /// The name.
    pub display_name: Option<Name>,
    /// Whether it requires a second factor of its members.
    pub require_second_factor: Option<bool>,
}

impl Organization {
    /// Identifies the version of its own fields (AIP-154).
    pub fn etag(&self) -> String {
        let changed = self.update_time.timestamp_micros();
        etag(&(self.id.uuid(), &self.display_name, changed))
    }
}

/// A member of an organization.
#[derive(Debug, Clone)]
pub struct Member {
    /// The user.
    pub user_id: UserId,
    /// The e-mail address of the user.
    pub email: String,
    /// The name of the user.
    pub display_name: String,
    /// The role.
    pub role: Role,
    /// When the user became a member.
    pub create_time: Time,
    /// When the role last changed.
    pub update_time: Time,
}

/// An invitation to an organization.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// The organization.
    pub organization_id: OrganizationId,
    /// The address to which it is sent.
    pub email: String,
    /// The role of the new member.
    pub role: Role,
    /// The member who has sent it.
    pub inviter_id: UserId,
    /// When it was created.
    pub create_time: Time,
    /// Until when it can be accepted.
    pub expire_time: Time,
}

/// An invitation to create.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// The id.
    pub id: InvitationId,
    /// The address.
    pub email: Email,
    /// The role of the new member.
    pub role: Role,
}
