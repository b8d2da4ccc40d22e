use sqlx::FromRow;

use crate::domain::{Time, User, UserId};

/// The columns of [`UserRow`], each after a prefix such as `"t."`.
macro_rules! user_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, email, email_verified, display_name, create_time, update_time
        )
    };
}
pub(super) use user_columns;

/// A row of the table `users`, without the password.
#[derive(FromRow)]
pub(crate) struct UserRow {
    pub(super) id: UserId,
    email: String,
    email_verified: bool,
    display_name: String,
    create_time: Time,
    update_time: Time,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        let UserRow {
            id,
            email,
            email_verified,
            display_name,
            create_time,
            update_time,
        } = row;
        Self {
            id,
            email,
            email_verified,
            display_name,
            create_time,
            update_time,
        }
    }
}
