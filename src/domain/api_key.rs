use super::{ApiKeyId, Name, ProjectId, Scopes, Time, UserId};

/// A key with which a program acts, within scopes.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// For whom the program acts; nobody, if it is an operator's key.
    pub user_id: Option<UserId>,
    /// What its owner calls it.
    pub display_name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Whether it may see only `project_ids`.
    pub restricted: bool,
    /// The projects that it is restricted to.
    pub project_ids: Vec<ProjectId>,
    /// When it was created.
    pub create_time: Time,
    /// When it stops working, if ever.
    pub expire_time: Option<Time>,
    /// When it was last exchanged.
    pub last_used_time: Option<Time>,
}

/// What an owner decides about a new API key.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What it is called.
    pub display_name: Name,
    /// What it may do.
    pub scopes: Scopes,
    /// The projects that it is restricted to; empty means all.
    pub project_ids: Vec<ProjectId>,
    /// When it stops working, if ever.
    pub expire_time: Option<Time>,
}
