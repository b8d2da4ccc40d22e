//! Rows of the tables of webhooks.

use sqlx::Row;

use crate::{
    database::Transaction,
    domain::{OrganizationId, Time, Webhook, WebhookDelivery, WebhookDisableReason, WebhookTarget},
    error::Result,
};

/// The columns of [`Webhook`], each after a prefix such as `"w."`.
macro_rules! webhook_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, owner_id, project_id, url, description, event_types, enabled, disable_reason,
            failing_since, previous_secret_expire_time, create_time, update_time
        )
    };
}

/// The columns of [`WebhookTarget`], of webhooks `w`. The previous secret is null if it is not used
/// any more at the time that `$now` binds.
macro_rules! target_columns {
    ($now:literal) => {
        concat!(
            "w.id, w.owner_id, w.url, w.event_types, w.failing_since, w.secret_sealed,
             case when w.previous_secret_expire_time > ",
            $now,
            " then w.previous_secret_sealed end as previous_secret_sealed"
        )
    };
}

/// The condition that a tenant may access the webhook `w`: the user that `$user` binds is a member
/// of its organization with one of the roles that `$roles` binds. If it concerns one project, the
/// tenant may access that too. If it concerns all, the API key that `$key` binds, unless it is null,
/// is one of the organization and not restricted to some projects.
macro_rules! webhook_owned_by {
    ($user:literal, $key:literal, $roles:literal) => {
        concat!(
            "w.delete_time is null and ",
            $crate::repositories::sql::is_member!("w.owner_id", $user, $roles),
            " and (exists (
                      select 1 from projects p
                      where p.id = w.project_id and ",
            $crate::repositories::sql::owned_by!($user, $key, $roles),
            ") or (w.project_id is null and (",
            $key,
            " is null or exists (
                          select 1 from api_keys k
                          where k.id = ",
            $key,
            " and coalesce(k.organization_id, k.user_id) = w.owner_id
                            and not k.restricted))))"
        )
    };
}

/// The columns of [`WebhookDelivery`], each after a prefix such as `"d."`.
macro_rules! delivery_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, webhook_id, project_id, revision, event_type, message_id, state, attempts,
            status_code, error, latency_ms, create_time, last_attempt_time, next_attempt_time
        )
    };
}
pub(super) use {delivery_columns, target_columns, webhook_columns, webhook_owned_by};

/// Disables the webhooks of a personal organization that its user takes away from those who have
/// used the account so far: they may be somebody else's.
pub(crate) async fn disable_taken_over(
    tx: &mut Transaction,
    owner: OrganizationId,
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "update webhooks
         set enabled = false, disable_reason = $2, update_time = $3
         where owner_id = $1 and enabled and delete_time is null",
        [owner, WebhookDisableReason::AccountTakenOver.as_str(), now]
    )
}

impl_from_row!(
    Webhook:
    id, project_id, url, description, event_types, disable_reason, failing_since,
    previous_secret_expire_time, create_time, update_time;
    |row|
    organization_id: row.try_get("owner_id")?,
    disabled: !row.try_get::<bool, _>("enabled")?,
);

impl_from_row!(
    WebhookTarget:
    id, owner_id, url, event_types, failing_since, secret_sealed, previous_secret_sealed
);

impl_from_row!(
    WebhookDelivery:
    id, webhook_id, project_id, revision, event_type, message_id, state, attempts, status_code,
    error, latency_ms, create_time, last_attempt_time, next_attempt_time
);
