use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::{deletion, events, rows::lock_owned};
use crate::{
    database::{Database, Transaction},
    domain::{
        AuditContext, Change, Destination, DestinationId, ListFilter, OrganizationId, Page,
        Platform, ProjectId, QuotaKind, StreamDelay, Tenant, Time,
    },
    error::{Error, Result},
    repositories::{
        ChangeOptions, Created, IdempotencyKey,
        accounts::session_rows::require_active,
        audit_log,
        idempotency::{change_once, create_once},
        quotas,
        relays::stream_changes,
        sql::{owned_by, refusal},
    },
};

/// The columns of [`Destination`], each after a prefix such as `"t."`.
macro_rules! destination_columns {
    ($prefix:literal) => {
        concat!(
            $crate::repositories::sql::columns!(
                $prefix:
                id, project_id, platform, name, url, stream_key_hint, enabled, srt_pbkeylen,
                delay_ms, max_video_bitrate_kbps, max_height, allows_second_connection,
                create_time, update_time
            ),
            ", ",
            $prefix,
            "srt_passphrase_sealed is not null as has_srt_passphrase",
        )
    };
}
pub(super) use destination_columns;

/// Destinations of projects.
#[derive(Debug, Clone)]
pub struct Destinations {
    database: Database,
    limit: i64,
}

/// A destination with its sealed key, as it is stored.
#[derive(Debug, Clone)]
pub struct SealedDestination {
    /// The id.
    pub id: DestinationId,
    /// The project.
    pub project_id: ProjectId,
    /// The platform.
    pub platform: Platform,
    /// The name.
    pub display_name: String,
    /// The ingest URL.
    pub url: String,
    /// The sealed key. `None` keeps the stored key, whichever key seals it by then.
    pub stream_key_sealed: Option<Vec<u8>>,
    /// The last characters of the key.
    pub stream_key_hint: String,
    /// Whether streams that go live are not sent to it.
    pub disabled: bool,
    /// The SRT passphrase.
    pub srt_passphrase: SealedChange,
    /// The length of the SRT key in bytes; 0 leaves the choice to the worker.
    pub srt_pbkeylen: i32,
    /// How much later the media is sent.
    pub delay: StreamDelay,
    /// The most bits of video in a second, in thousands; 0 means no limit.
    pub max_video_bitrate_kbps: i32,
    /// The greatest height of the picture in pixels; 0 means no limit.
    pub max_height: i32,
    /// Whether a second connection with the same key may begin before the first one ends.
    pub allows_second_connection: bool,
}

/// A sealed value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedChange {
    /// Keeps the stored value, whichever key seals it by then.
    Keep,
    /// Removes it.
    Clear,
    /// Replaces it.
    Set(Vec<u8>),
}

/// A destination as it is stored, with its sealed secrets.
#[derive(Debug, Clone, FromRow)]
pub struct StoredDestination {
    /// The destination.
    #[sqlx(flatten)]
    pub destination: Destination,
    /// The sealed key.
    pub stream_key_sealed: Vec<u8>,
    /// The sealed SRT passphrase, if there is one.
    pub srt_passphrase_sealed: Option<Vec<u8>>,
}

/// Where a destination sends streams: its address and its sealed key.
#[derive(Debug, Clone, FromRow)]
pub struct SealedTarget {
    /// The id.
    pub id: DestinationId,
    /// The ingest URL.
    pub url: String,
    /// The sealed key.
    pub stream_key_sealed: Vec<u8>,
}

impl SealedChange {
    /// The new value; `None` if there is none.
    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Keep | Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl Destinations {
    /// Destinations in this database, at most `limit` per project.
    pub fn new(database: Database, limit: i64) -> Self {
        Self { database, limit }
    }

    /// Adds a destination to a project, or returns the one that the same request created.
    pub async fn create(
        &self,
        tenant: Tenant,
        destination: &SealedDestination,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<Destination>> {
        let insert = self.insert(tenant, destination, idempotency, audit, now);
        let get = |id: Uuid| async move { Ok(self.get(tenant, id.into()).await?.destination) };
        create_once(&self.database, idempotency, now, insert, get).await
    }

    async fn insert(
        &self,
        tenant: Tenant,
        destination: &SealedDestination,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Destination> {
        self.database
            .transaction(|mut tx| async move {
                let revision = lock_owned(&mut tx, tenant, destination.project_id).await?;
                require_active(&mut tx, audit).await?;
                let count: i64 = fetch_scalar!(
                    tx,
                    "select count(*) from destinations where project_id = $1 and delete_time is null",
                    [destination.project_id]
                )?;
                if count >= self.limit {
                    return Err(Error::DestinationLimit);
                }
                let organization: OrganizationId = fetch_scalar!(
                    tx,
                    "select owner_id from projects where id = $1",
                    [destination.project_id]
                )?;
                let kinds = [QuotaKind::Destinations];
                let excess = quotas::reached(&mut tx, organization, &kinds, now).await?;
                if let Some(excess) = excess {
                    return Err(Error::QuotaExceeded(excess));
                }
                let destination: Destination = fetch_one!(
                    tx,
                    concat!(
                        "insert into destinations
                             (id, project_id, platform, name, url, stream_key_sealed,
                              stream_key_hint, enabled, srt_passphrase_sealed, srt_pbkeylen,
                              delay_ms, max_video_bitrate_kbps, max_height, create_time,
                              update_time, allows_second_connection)
                         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
                                 $14, $15)
                         returning ",
                        destination_columns!(""),
                    ),
                    [
                        destination.id,
                        destination.project_id,
                        destination.platform.as_str(),
                        &destination.display_name,
                        &destination.url,
                        &destination.stream_key_sealed,
                        &destination.stream_key_hint,
                        !destination.disabled,
                        destination.srt_passphrase.value(),
                        destination.srt_pbkeylen,
                        destination.delay.as_millis(),
                        destination.max_video_bitrate_kbps,
                        destination.max_height,
                        now,
                        destination.allows_second_connection
                    ]
                )?;
                if let Some(key) = idempotency {
                    key.record(&mut tx, destination.id.uuid(), now).await?;
                }
                record(&mut tx, revision, &destination, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                let project_id = destination.project_id;
                self.database.commit_change(tx, project_id).await?;
                Ok(destination)
            })
            .await
    }

    /// A destination, with its secrets sealed.
    pub async fn get(&self, tenant: Tenant, id: DestinationId) -> Result<StoredDestination> {
        if let Some(found) = self.find(tenant, id).await? {
            return Ok(found);
        }
        let is_visible = async |reader| Ok(self.find(reader, id).await?.is_some());
        Err(refusal!(tenant, "destination", id, reader => is_visible(reader).await))
    }

    async fn find(&self, tenant: Tenant, id: DestinationId) -> Result<Option<StoredDestination>> {
        fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                destination_columns!("d."),
                ", d.stream_key_sealed, d.srt_passphrase_sealed
                 from destinations d
                 join projects p on p.id = d.project_id
                 where d.id = $1 and d.delete_time is null and ",
                owned_by!("$2", "$3", "$4"),
            ),
            [id, tenant.user, tenant.key, tenant.roles()]
        )
    }

    /// The addresses and keys of a project's destinations, at most 1000, newest first.
    pub async fn list_targets(
        &self,
        tenant: Tenant,
        project_id: ProjectId,
    ) -> Result<Vec<SealedTarget>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select d.id, d.url, d.stream_key_sealed
                 from destinations d
                 join projects p on p.id = d.project_id
                 where d.project_id = $1 and d.delete_time is null and ",
                owned_by!("$2", "$3", "$4"),
                " order by d.id desc
                 limit 1000",
            ),
            [project_id, tenant.user, tenant.key, tenant.roles()]
        )
    }

    /// A project's destinations, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        project_id: ProjectId,
        filter: ListFilter,
        page: Page,
    ) -> Result<Vec<Destination>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                destination_columns!("d."),
                " from destinations d
                 join projects p on p.id = d.project_id
                 where d.project_id = $1 and d.id < $2 and d.delete_time is null and ",
                owned_by!("$3", "$4", "$9"),
                " and ($6 is null or d.enabled <> $6)
                  and d.create_time > $7 and d.create_time < $8
                  order by d.id desc
                  limit $5",
            ),
            [
                project_id,
                page.below,
                tenant.user,
                tenant.key,
                page.limit(),
                filter.disabled,
                filter.created.after,
                filter.created.before,
                tenant.roles()
            ]
        )
    }

    /// The destination that this request has changed before, if it is a repetition.
    pub async fn find_changed(
        &self,
        tenant: Tenant,
        options: &ChangeOptions,
        now: Time,
    ) -> Result<Option<StoredDestination>> {
        let Some(key) = &options.idempotency else {
            return Ok(None);
        };
        match key.find(&self.database, now).await? {
            Some(id) => self.get(tenant, id.into()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Replaces a destination that was read with the update time `read_time`.
    /// `ConcurrentChange` if it has changed since.
    pub async fn replace(
        &self,
        tenant: Tenant,
        destination: &SealedDestination,
        read_time: Time,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Destination> {
        self.database
            .transaction(|mut tx| async move {
                let revision = lock_owned(&mut tx, tenant, destination.project_id).await?;
                require_active(&mut tx, audit).await?;
                let is_redirected = is_redirected(&mut tx, destination).await?;
                let destination: Destination = fetch_optional!(
                    tx,
                    concat!(
                        "update destinations
                         set platform = $3, name = $4, url = $5,
                             stream_key_sealed = coalesce($6, stream_key_sealed),
                             stream_key_hint = $7, enabled = $8, update_time = $9,
                             srt_passphrase_sealed =
                                 case when $10 then srt_passphrase_sealed else $11 end,
                             srt_pbkeylen = $12, delay_ms = $13, max_video_bitrate_kbps = $14,
                             max_height = $15, allows_second_connection = $16
                         where id = $1 and update_time = $2 and delete_time is null
                         returning ",
                        destination_columns!(""),
                    ),
                    [
                        destination.id,
                        read_time,
                        destination.platform.as_str(),
                        &destination.display_name,
                        &destination.url,
                        &destination.stream_key_sealed,
                        &destination.stream_key_hint,
                        !destination.disabled,
                        now,
                        destination.srt_passphrase == SealedChange::Keep,
                        destination.srt_passphrase.value(),
                        destination.srt_pbkeylen,
                        destination.delay.as_millis(),
                        destination.max_video_bitrate_kbps,
                        destination.max_height,
                        destination.allows_second_connection
                    ]
                )?
                .ok_or(Error::ConcurrentChange)?;
                record(&mut tx, revision, &destination, now).await?;
                if is_redirected {
                    stream_changes::release_leases_to(&mut tx, destination.id, now).await?;
                }
                options.record(&mut tx, destination.id.uuid(), now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                let project_id = destination.project_id;
                self.database.commit_change(tx, project_id).await?;
                Ok(destination)
            })
            .await
    }

    /// Deletes a destination: it and its relays cannot be found any more. Their rows are
    /// deleted later.
    pub async fn delete(
        &self,
        tenant: Tenant,
        id: DestinationId,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        let change = self.mark_deleted(tenant, id, options, audit, now);
        let key = options.idempotency.as_ref();
        change_once(&self.database, key, now, change, |_| async { Ok(()) }).await
    }

    async fn mark_deleted(
        &self,
        tenant: Tenant,
        id: DestinationId,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        let StoredDestination { destination, .. } = self.get(tenant, id).await?;

        self.database
            .transaction(|mut tx| async move {
                let project_id = destination.project_id;
                let revision = lock_owned(&mut tx, tenant, project_id).await?;
                if options.etag.is_some() {
                    let before: Option<Destination> = fetch_optional!(
                        tx,
                        concat!(
                            "select ",
                            destination_columns!(""),
                            " from destinations where id = $1 and delete_time is null",
                        ),
                        [id]
                    )?;
                    let before = before.ok_or_else(|| Error::not_found("destination", id))?;
                    options.check_etag(&before.etag())?;
                }
                if !deletion::delete_destination(&mut tx, project_id, id, now).await? {
                    return Err(Error::not_found("destination", id));
                }
                let change = Change::DestinationDeleted(id);
                events::record(&mut tx, project_id, revision, &change, now).await?;
                options.record(&mut tx, id.uuid(), now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                self.database.commit_change(tx, project_id).await
            })
            .await
    }
}

/// Whether a change makes running relays wrong: of the address, key, encryption, delay or limits.
async fn is_redirected(tx: &mut Transaction, after: &SealedDestination) -> Result<bool> {
    let before: Option<(String, bool, i32, i32, i32, i32)> = fetch_optional!(
        tx,
        "select url, srt_passphrase_sealed is not null, srt_pbkeylen, delay_ms,
                max_video_bitrate_kbps, max_height
         from destinations
         where id = $1 and delete_time is null",
        [after.id]
    )?;
    let (url, is_encrypted, pbkeylen, delay_ms, kbps, height) =
        before.ok_or(Error::ConcurrentChange)?;
    let changes_passphrase = match after.srt_passphrase {
        SealedChange::Keep => false,
        SealedChange::Clear => is_encrypted,
        SealedChange::Set(_) => true,
    };
    Ok(after.stream_key_sealed.is_some()
        || changes_passphrase
        || url != after.url
        || [pbkeylen, delay_ms, kbps, height]
            != [
                after.srt_pbkeylen,
                after.delay.as_millis(),
                after.max_video_bitrate_kbps,
                after.max_height,
            ])
}

/// Writes the event of a created or changed destination.
pub(super) async fn record(
    tx: &mut Transaction,
    revision: i64,
    destination: &Destination,
    now: Time,
) -> Result<()> {
    let change = Change::Destination(destination.clone());
    events::record(tx, destination.project_id, revision, &change, now).await
}

impl_from_row!(
    Destination:
    id, project_id, platform, url, stream_key_hint, has_srt_passphrase, srt_pbkeylen,
    max_video_bitrate_kbps, max_height, allows_second_connection, create_time, update_time;
    |row|
    display_name: row.try_get("name")?,
    disabled: !row.try_get::<bool, _>("enabled")?,
    delay: StreamDelay::from_millis(row.try_get("delay_ms")?),
);
