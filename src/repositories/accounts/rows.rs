use crate::domain::User;

/// The columns of [`User`], each after a prefix such as `"t."`.
macro_rules! user_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, email, email_verified, display_name, create_time, update_time
        )
    };
}
pub(super) use user_columns;

impl_from_row!(User: id, email, email_verified, display_name, create_time, update_time);
