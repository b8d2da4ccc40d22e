//! Rows of deleted accounts, organizations, projects, destinations and webhooks, which are deleted in
//! batches.
//!
//! What is deleted is only marked at first. Its rows may be many: a cascade of foreign keys
//! would delete them in one statement, and everything else would wait for that. So the rows
//! that refer to it go first, and its own row goes when none is left.

use uuid::Uuid;

use crate::{
    database::{Database, DeletedBatch, Engine},
    domain::{ProjectId, Time},
    error::Result,
    repositories::projects::deletion,
};

/// Deleted accounts, organizations, projects, destinations and webhooks.
#[derive(Debug, Clone)]
pub struct Deletions {
    database: Database,
}

/// A kind of resource whose deletion is a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedKind {
    /// Accounts without projects, with their personal organizations.
    Account,
    /// Other organizations without projects.
    Organization,
    /// Projects that were deleted long ago, or whose organization is deleted.
    Project,
    /// Destinations.
    Destination,
    /// Webhooks: also those of deleted organizations, and those of deleted projects whose last event has
    /// been sent.
    Webhook,
}

/// Statements that delete a batch: they bind the id of what is deleted as `$1`, and a maximum
/// number of rows as `$2`.
#[derive(Debug, Clone, Copy)]
pub struct DeletionStep {
    sqlite: &'static str,
    postgres: &'static str,
}

/// Deletes rows of a table by their key. Replicas that do so at once do not wait for each other.
macro_rules! delete_rows {
    ($table:literal, $key:literal, $condition:literal) => {
        DeletionStep {
            sqlite: delete_rows!(@ $table, $key, $condition, ""),
            postgres: delete_rows!(@ $table, $key, $condition, " for update skip locked"),
        }
    };
    (@ $table:literal, $key:literal, $condition:literal, $lock:literal) => {
        concat!(
            "delete from ", $table, " where (", $key, ") in (select ", $key, " from ", $table,
            " where ", $condition, " limit $2", $lock, ")"
        )
    };
}

/// Finds what is deleted: at most `$3` ids after `$2`, of what was deleted at `$1` or before.
const FIND_ACCOUNTS: &str = "select id
     from users
     where delete_time <= $1 and id > $2
       and not exists (select 1 from projects p where p.owner_id = users.id)
       and not exists (select 1 from webhooks w where w.owner_id = users.id)
     order by id
     limit $3";
const FIND_ORGANIZATIONS: &str = "select id
     from organizations
     where delete_time <= $1 and id > $2 and not personal
       and not exists (select 1 from projects p where p.owner_id = organizations.id)
       and not exists (select 1 from webhooks w where w.owner_id = organizations.id)
     order by id
     limit $3";
const FIND_PROJECTS: &str = "select id
     from projects
     where delete_time <= $1 and id > $2
     union
     select p.id
     from organizations o
     join projects p on p.owner_id = o.id
     where o.delete_time is not null and p.delete_time is not null and p.id > $2
     order by id
     limit $3";
const FIND_DESTINATIONS: &str = "select id
     from destinations
     where delete_time <= $1 and id > $2
     order by id
     limit $3";

const FIND_WEBHOOKS: &str = "select id
     from webhooks
     where delete_time <= $1 and id > $2
     union
     select w.id
     from organizations o
     join webhooks w on w.owner_id = o.id
     where o.delete_time is not null and w.id > $2
     union
     select w.id
     from projects p
     join webhooks w on w.project_id = p.id
     join webhook_cursors c on c.webhook_id = w.id and c.project_id = p.id
     where p.delete_time is not null and w.id > $2
       and (c.revision >= p.revision or not w.enabled)
     order by id
     limit $3";

const ACCOUNT_STEPS: &[DeletionStep] = &[
    delete_rows!("sessions", "id", "user_id = $1"),
    delete_rows!("identities", "issuer, subject", "user_id = $1"),
    delete_rows!("mail_tokens", "token_hash", "user_id = $1"),
    delete_rows!("api_keys", "id", "user_id = $1"),
    delete_rows!("destination_checks", "id", "user_id = $1"),
    delete_rows!("usage_records", "id", "owner_id = $1"),
    delete_rows!(
        "idempotent_creates",
        "owner_id, request_id",
        "owner_id = $1"
    ),
    delete_rows!(
        "users",
        "id",
        "id = $1
         and not exists (select 1 from projects where owner_id = $1)
         and not exists (select 1 from webhooks where owner_id = $1)
         and not exists (select 1 from sessions where user_id = $1)"
    ),
];
const ORGANIZATION_STEPS: &[DeletionStep] = &[
    delete_rows!("usage_records", "id", "owner_id = $1"),
    delete_rows!(
        "organizations",
        "id",
        "id = $1
         and not exists (select 1 from projects where owner_id = $1)
         and not exists (select 1 from webhooks where owner_id = $1)
         and not exists (select 1 from usage_records where owner_id = $1)"
    ),
];
const PROJECT_STEPS: &[DeletionStep] = &[
    delete_rows!("relays", "stream_id, destination_id", "project_id = $1"),
    delete_rows!(
        "stream_samples",
        "stream_id, sample_time",
        "stream_id in (select id from streams where project_id = $1)"
    ),
    delete_rows!(
        "usage_meters",
        "stream_id, destination_id",
        "stream_id in (select id from streams where project_id = $1)"
    ),
    delete_rows!(
        "streams",
        "id",
        "project_id = $1
         and not exists (select 1 from stream_samples where stream_id = streams.id)
         and not exists (select 1 from usage_meters where stream_id = streams.id)"
    ),
    delete_rows!("events", "project_id, revision", "project_id = $1"),
    delete_rows!("refusals", "id", "project_id = $1"),
    delete_rows!(
        "publishes",
        "node_id, boot_id, connection_id, project_id",
        "project_id = $1"
    ),
    delete_rows!(
        "api_key_projects",
        "api_key_id, project_id",
        "project_id = $1"
    ),
    delete_rows!("webhook_deliveries", "id", "project_id = $1"),
    delete_rows!(
        "webhook_cursors",
        "webhook_id, project_id",
        "project_id = $1"
    ),
    delete_rows!("webhooks", "id", "project_id = $1"),
    delete_rows!("destinations", "id", "project_id = $1"),
    delete_rows!(
        "projects",
        "id",
        "id = $1
         and not exists (select 1 from relays where project_id = $1)
         and not exists (select 1 from streams where project_id = $1)
         and not exists (select 1 from events where project_id = $1)
         and not exists (select 1 from publishes where project_id = $1)"
    ),
];
const DESTINATION_STEPS: &[DeletionStep] = &[
    delete_rows!("relays", "stream_id, destination_id", "destination_id = $1"),
    delete_rows!(
        "destinations",
        "id",
        "id = $1 and not exists (select 1 from relays where destination_id = $1)"
    ),
];

const WEBHOOK_STEPS: &[DeletionStep] = &[
    delete_rows!("webhook_deliveries", "id", "webhook_id = $1"),
    delete_rows!(
        "webhook_cursors",
        "webhook_id, project_id",
        "webhook_id = $1"
    ),
    delete_rows!(
        "webhooks",
        "id",
        "id = $1 and not exists (select 1 from webhook_deliveries where webhook_id = $1)"
    ),
];

impl DeletedKind {
    /// All kinds, in the order in which their rows can be deleted.
    pub const ALL: [Self; 5] = [
        Self::Destination,
        Self::Webhook,
        Self::Project,
        Self::Organization,
        Self::Account,
    ];

    /// The steps that delete the rows of one of them, the last one its own row.
    pub fn steps(self) -> &'static [DeletionStep] {
        match self {
            Self::Account => ACCOUNT_STEPS,
            Self::Organization => ORGANIZATION_STEPS,
            Self::Project => PROJECT_STEPS,
            Self::Destination => DESTINATION_STEPS,
            Self::Webhook => WEBHOOK_STEPS,
        }
    }
}

impl Deletions {
    /// The deletions in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// At most `limit` ids after `above` of what was deleted at a time or before, in their
    /// order. Projects of deleted organizations are found whenever they were deleted.
    pub async fn list(
        &self,
        kind: DeletedKind,
        until: Time,
        above: Uuid,
        limit: i64,
    ) -> Result<Vec<Uuid>> {
        let sql = match kind {
            DeletedKind::Account => FIND_ACCOUNTS,
            DeletedKind::Organization => FIND_ORGANIZATIONS,
            DeletedKind::Project => FIND_PROJECTS,
            DeletedKind::Destination => FIND_DESTINATIONS,
            DeletedKind::Webhook => FIND_WEBHOOKS,
        };
        fetch_scalars!(self.database.reader(), sql, [until, above, limit])
    }

    /// Deletes at most `limit` rows of what is deleted.
    pub async fn delete_rows(
        &self,
        step: DeletionStep,
        id: Uuid,
        limit: i64,
    ) -> Result<DeletedBatch> {
        let sql = match self.database.writer() {
            Engine::Postgres(_) => step.postgres,
            Engine::Sqlite(_) => step.sqlite,
        };
        delete_batch!(self.database, sql, [id, limit])
    }

    /// At most `limit` projects after `above`, in their order, that are not deleted although
    /// their organization is.
    pub async fn list_orphans(&self, above: Uuid, limit: i64) -> Result<Vec<ProjectId>> {
        fetch_scalars!(
            self.database.reader(),
            "select p.id
             from organizations o
             join projects p on p.owner_id = o.id
             where o.delete_time is not null and p.delete_time is null and p.id > $1
             order by p.id
             limit $2",
            [above, limit]
        )
    }

    /// Deletes a project of a deleted organization, as its members would: its stream ends.
    pub async fn delete_orphan(&self, id: ProjectId, now: Time) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                if !deletion::delete_of_owner(&mut tx, id, now).await? {
                    return tx.rollback(()).await;
                }
                self.database.commit_change(tx, id).await
            })
            .await
    }
}
