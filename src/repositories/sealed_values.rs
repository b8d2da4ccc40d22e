use sqlx::FromRow;
use uuid::Uuid;

use crate::{database::Database, error::Result};

/// The columns whose values are sealed under the sealing key.
#[derive(Debug, Clone, Copy)]
pub enum SealedValues {
    /// The stream keys of projects.
    StreamKeys,
    /// The stream keys of destinations.
    DestinationKeys,
    /// The seeds of sessions.
    RefreshSeeds,
    /// Where the media of streams can be read.
    PlayUrls,
}

/// A sealed value and the row in which it stands.
#[derive(Debug, FromRow)]
pub struct SealedValue {
    /// The id of the row.
    pub id: Uuid,
    /// The value.
    pub sealed: Vec<u8>,
}

impl SealedValues {
    /// Every such column.
    pub const ALL: [Self; 4] = [
        Self::StreamKeys,
        Self::DestinationKeys,
        Self::RefreshSeeds,
        Self::PlayUrls,
    ];

    /// The values of rows after `above` that do not begin with the id of this
    /// key, at most `limit`, in the order of their rows.
    pub async fn not_under(
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
        Ok(
            on_engine!(database.reader(), pool => sqlx::query_as::<_, SealedValue>(sql)
            .bind(above)
            .bind(key)
            .bind(limit)
            .fetch_all(pool)
            .await)?,
        )
    }

    /// Puts a value sealed anew in the place of the same value. If that has changed
    /// meanwhile, nothing happens: the change was sealed under the new key already.
    pub async fn replace(
        self,
        database: &Database,
        value: &SealedValue,
        anew: &[u8],
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
        on_engine!(database.writer(), pool => sqlx::query(sql)
            .bind(value.id)
            .bind(&value.sealed)
            .bind(anew)
            .execute(pool)
            .await
            .map(drop))?;
        Ok(())
    }
}
