use super::{ApiKeyId, Name, NodeId, OrganizationId, ProjectId, Scopes, Time, UserId};

/// A key with which a program calls the API, within scopes.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The user for whom the program acts; `None` for an operator's key.
    pub user_id: Option<UserId>,
    /// The organization whose projects it accesses, if that is not the personal one of the user.
    pub organization_id: Option<OrganizationId>,
    /// The name its owner gave it.
    pub display_name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// Whether it is restricted to `project_ids`.
    pub restricted: bool,
    /// The projects that it is restricted to.
    pub project_ids: Vec<ProjectId>,
    /// The media server that an operator's key is bound to; `None` means all.
    pub node_id: Option<NodeId>,
    /// When it was created.
    pub create_time: Time,
    /// When it expires, if ever.
    pub expire_time: Option<Time>,
    /// When it was last exchanged for an access token.
    pub last_used_time: Option<Time>,
}

/// The fields of a new API key.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Its name.
    pub display_name: Name,
    /// What it allows.
    pub scopes: Scopes,
    /// The projects that it is restricted to; empty means all.
    pub project_ids: Vec<ProjectId>,
    /// When it expires, if ever.
    pub expire_time: Option<Time>,
}
