//! A row of the table `users`.

use sqlx::FromRow;

use crate::{
    database::Timestamp,
    domain::{User, UserId},
};

/// An account as its columns hold it.
#[derive(FromRow)]
pub(crate) struct UserRow {
    pub(super) id: UserId,
    email: String,
    email_verified: bool,
    display_name: String,
    create_time: Timestamp,
    update_time: Timestamp,
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
