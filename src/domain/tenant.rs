use super::{ApiKeyId, UserId};

/// The owner of the data that a call may access.
///
/// Every repository method on owned data has it as a parameter and in its `where` clause, so that
/// rows of other tenants are not found.
#[derive(Debug, Clone, Copy)]
pub struct Tenant {
    /// The user who owns the data.
    pub user: UserId,
    /// The API key to whose projects the call is restricted, if any.
    pub restricted_to: Option<ApiKeyId>,
}
