use super::{ApiKeyId, UserId};

/// Whose data a call may touch.
///
/// It is a parameter of every repository method on owned data and stands in
/// the `where`, so that another tenant's row is simply not found.
#[derive(Debug, Clone, Copy)]
pub struct Tenant {
    /// The user who owns the data.
    pub user: UserId,
    /// The API key to whose projects the call is restricted, if it is.
    pub restricted_to: Option<ApiKeyId>,
}
