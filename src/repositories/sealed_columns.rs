use sqlx::FromRow;
use uuid::Uuid;

use crate::{database::Database, error::Result};

/// A column whose values are sealed.
#[derive(Debug, Clone, Copy)]
pub enum SealedColumn {
    /// The stream keys of projects.
    StreamKeys,
    /// The stream keys of destinations.
    DestinationKeys,
    /// The refresh seeds of sessions.
    RefreshSeeds,
    /// The play URLs of streams.
    PlayUrls,
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
    pub const ALL: [Self; 4] = [
        Self::StreamKeys,
        Self::DestinationKeys,
        Self::RefreshSeeds,
        Self::PlayUrls,
    ];

    /// At most `limit` values that are not sealed under the key with this id prefix, of the
    /// rows after `above`, in the order of the row ids.
    pub async fn list_not_sealed_under(
        self,
        database: &Database,
        key: &[u8],
        above: Uuid,
        limit: i64,
    ) -> Result<Vec<SealedValue>> {
        let sql = match self {
            Self::StreamKeys => {
                "select id, stream_key_sealed as sealed
                 from projects
                 where id > $1 and substr(stream_key_sealed, 1, 4) <> $2
                 order by id
                 limit $3"
            }
            Self::DestinationKeys => {
                "select id, stream_key_sealed as sealed
                 from destinations
                 where id > $1 and substr(stream_key_sealed, 1, 4) <> $2
                 order by id
                 limit $3"
            }
            Self::RefreshSeeds => {
                "select id, refresh_seed as sealed
                 from sessions
                 where id > $1 and substr(refresh_seed, 1, 4) <> $2
                 order by id
                 limit $3"
            }
            Self::PlayUrls => {
                "select play_url_id as id, play_url_sealed as sealed
                 from streams
                 where play_url_id > $1 and substr(play_url_sealed, 1, 4) <> $2
                 order by play_url_id
                 limit $3"
            }
        };
        fetch_all!(database.reader(), sql, [above, key, limit])
    }

    /// Replaces a value by the same value, resealed. Does nothing if it has changed
    /// meanwhile: the change was sealed under the new key.
    pub async fn replace(
        self,
        database: &Database,
        value: &SealedValue,
        resealed: &[u8],
    ) -> Result<()> {
        let sql = match self {
            Self::StreamKeys => {
                "update projects
                 set stream_key_sealed = $3
                 where id = $1 and stream_key_sealed = $2"
            }
            Self::DestinationKeys => {
                "update destinations
                 set stream_key_sealed = $3
                 where id = $1 and stream_key_sealed = $2"
            }
            Self::RefreshSeeds => {
                "update sessions
                 set refresh_seed = $3
                 where id = $1 and refresh_seed = $2"
            }
            Self::PlayUrls => {
                "update streams
                 set play_url_sealed = $3
                 where play_url_id = $1 and play_url_sealed = $2"
            }
        };
        execute!(database.writer(), sql, [value.id, &value.sealed, resealed]).map(drop)
    }
}
