use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use crate::{database::Database, error::Result};

/// A column whose values are sealed.
#[derive(Debug, Clone, Copy)]
pub enum SealedColumn {
    /// The stream keys of projects.
    StreamKeys,
    /// The stream keys of destinations.
    DestinationKeys,
    /// The SRT passphrases of destinations.
    SrtPassphrases,
    /// The refresh seeds of sessions.
    RefreshSeeds,
    /// The play URLs of streams.
    PlayUrls,
    /// The secrets of API keys that were created with a request id, for a day.
    RepeatedSecrets,
    /// The secrets of users' authenticators.
    TotpSecrets,
    /// The secrets of webhooks.
    WebhookSecrets,
    /// The secrets of webhooks before their last rotation.
    PreviousWebhookSecrets,
}

/// A sealed value and the id of its row.
#[derive(Debug, FromRow)]
pub struct SealedValue {
    /// The id of the row.
    pub id: Uuid,
    /// The sealed value.
    pub sealed: Vec<u8>,
}

impl SealedColumn {
    /// All columns.
    pub const ALL: [Self; 9] = [
        Self::StreamKeys,
        Self::DestinationKeys,
        Self::SrtPassphrases,
        Self::RefreshSeeds,
        Self::PlayUrls,
        Self::RepeatedSecrets,
        Self::TotpSecrets,
        Self::WebhookSecrets,
        Self::PreviousWebhookSecrets,
    ];

    /// The table, the column of the row's id, and the sealed column. Nothing else becomes part
    /// of a statement.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::StreamKeys => ["projects", "id", "stream_key_sealed"],
            Self::DestinationKeys => ["destinations", "id", "stream_key_sealed"],
            Self::SrtPassphrases => ["destinations", "id", "srt_passphrase_sealed"],
            Self::RefreshSeeds => ["sessions", "id", "refresh_seed"],
            Self::PlayUrls => ["streams", "play_url_id", "play_url_sealed"],
            Self::RepeatedSecrets => ["idempotent_creates", "resource_id", "secret_sealed"],
            Self::TotpSecrets => ["second_factors", "id", "secret_sealed"],
            Self::WebhookSecrets => ["webhooks", "id", "secret_sealed"],
            Self::PreviousWebhookSecrets => ["webhooks", "id", "previous_secret_sealed"],
        }
    }

    /// At most `limit` values, not erased ones, that are not sealed under the key with this id
    /// prefix, of the rows after `above`, in the order of the row ids.
    pub async fn list_not_sealed_under(
        self,
        database: &Database,
        key: &[u8],
        above: Uuid,
        limit: i64,
    ) -> Result<Vec<SealedValue>> {
        let [table, id, column] = self.names();
        let sql = format!(
            "select {id} as id, {column} as sealed
             from {table}
             where {id} > $1 and substr({column}, 1, 4) <> $2 and length({column}) > 0
             order by {id}
             limit $3"
        );
        fetch_all!(database.reader(), AssertSqlSafe(sql), [above, key, limit])
    }

    /// Replaces a value by the same value, resealed. Does nothing if it has changed
    /// meanwhile: the change was sealed under the new key.
    pub async fn replace(
        self,
        database: &Database,
        value: &SealedValue,
        resealed: &[u8],
    ) -> Result<()> {
        let [table, id, column] = self.names();
        let sql = format!("update {table} set {column} = $3 where {id} = $1 and {column} = $2");
        execute!(
            database.writer(),
            AssertSqlSafe(sql),
            [value.id, &value.sealed, resealed]
        )
    }
}
