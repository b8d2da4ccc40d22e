//! The rows that are there before the fleet starts.

use sluice::{
    auth::{AssociatedData, KeySettings, Keys, MissingKeys, Sealer},
    domain::{DestinationId, ProjectId, StreamKey},
};
use sqlx::{AssertSqlSafe, Connection, Row};
use sqlx_postgres::PgConnection;
use uuid::Uuid;

use crate::{DESTINATIONS, servers::Side};

/// A project with destinations.
#[derive(Clone)]
pub struct SeededProject {
    pub id: String,
    pub stream_key: String,
}

/// Writes rows into the database of the server.
pub struct Seed {
    connection: PgConnection,
    owner: Uuid,
    sealer: Sealer,
}

impl Seed {
    pub async fn connect(side: &Side, owner: &str) -> anyhow::Result<Self> {
        let keys = Keys::load(&KeySettings {
            jwt_secret: None,
            jwt_key_files: Vec::new(),
            sealing_keys: Vec::new(),
            directory: Some(side.data_dir().to_owned()),
            missing: MissingKeys::Refuse,
        })?;
        Ok(Self {
            connection: PgConnection::connect(&side.url).await?,
            owner: owner.parse()?,
            sealer: keys.sealer,
        })
    }

    /// Creates projects with destinations.
    pub async fn projects(&mut self, count: usize) -> anyhow::Result<Vec<SeededProject>> {
        let mut projects = Vec::new();
        for _ in 0..count.div_ceil(1000) {
            let batch = self.batch(1000.min(count - projects.len())).await?;
            projects.extend(batch);
        }
        Ok(projects)
    }

    async fn batch(&mut self, count: usize) -> anyhow::Result<Vec<SeededProject>> {
        let (mut projects, mut ids) = (Vec::new(), Vec::new());
        let (mut hashes, mut keys) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (id, key) = (ProjectId::generate(), StreamKey::generate());
            let sealed = key.seal(id, &self.sealer);
            projects.push(SeededProject {
                id: id.to_string(),
                stream_key: key.0.expose().to_owned(),
            });
            ids.push(id.uuid());
            hashes.push(sealed.hash);
            keys.push(sealed.sealed);
        }
        sqlx::query(
            "insert into projects
                 (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
                  stream_key_hash, stream_key_sealed, stream_key_hint, revision, create_time,
                  update_time)
             select p.id, $1, 'fleet', false, 0, 'reject_new', p.hash, p.sealed, 'abcd', 1, now(),
                    now()
             from unnest($2::uuid[], $3::bytea[], $4::bytea[]) as p (id, hash, sealed)",
        )
        .bind(self.owner)
        .bind(&ids)
        .bind(hashes)
        .bind(keys)
        .execute(&mut self.connection)
        .await?;

        let (mut of_project, mut destinations, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids.iter().flat_map(|id| [id; DESTINATIONS]) {
            let destination = DestinationId::generate();
            let aad = AssociatedData::destination_key(destination);
            of_project.push(*id);
            destinations.push(destination.uuid());
            keys.push(self.sealer.seal(&aad, b"key"));
        }
        sqlx::query(
            "insert into destinations
                 (id, project_id, platform, name, url, stream_key_sealed, stream_key_hint,
                  enabled, create_time, update_time)
             select d.id, d.project_id, 'custom', 'fleet', 'rtmp://live.example.com/app',
                    d.sealed, '', true, now(), now()
             from unnest($1::uuid[], $2::uuid[], $3::bytea[]) as d (id, project_id, sealed)",
        )
        .bind(destinations)
        .bind(of_project)
        .bind(keys)
        .execute(&mut self.connection)
        .await?;
        Ok(projects)
    }

    /// Adds live streams at media servers that have no worker, whose relays wait.
    pub async fn unclaimed(&mut self, streams: usize) -> anyhow::Result<()> {
        let projects = self.projects(streams).await?;
        let ids: Result<Vec<Uuid>, _> = projects.iter().map(|one| one.id.parse()).collect();
        sqlx::query(
            "with begun as (
                 insert into streams
                     (id, project_id, status, epoch, node_id, boot_id, connection_id,
                      peer_address, protocol, connected, create_time, live_time, last_seen_time)
                 select gen_random_uuid(), p.id, 'live', 1, 'idle-' || p.number / 10, 'b1',
                        p.number::text, '203.0.113.5', 'rtmp', true, now(), now(),
                        now() + interval '1 day'
                 from unnest($1::uuid[]) with ordinality as p (id, number)
                 returning id, project_id)
             insert into relays
                 (stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
                  bytes_sent, bitrate_bps, update_time)
             select s.id, d.id, s.project_id, true, 'idle', 0, now(), 0, 0, now()
             from begun s
             join destinations d on d.project_id = s.project_id",
        )
        .bind(ids?)
        .execute(&mut self.connection)
        .await?;
        self.analyze().await
    }

    /// As autovacuum would.
    pub async fn analyze(&mut self) -> anyhow::Result<()> {
        let analyze = sqlx::raw_sql("analyze");
        analyze.execute(&mut self.connection).await?;
        Ok(())
    }

    /// A number that a statement returns.
    pub async fn number(&mut self, sql: &str) -> anyhow::Result<i64> {
        let sql = AssertSqlSafe(sql.to_owned());
        let row = sqlx::query(sql).fetch_one(&mut self.connection).await?;
        Ok(row.try_get(0)?)
    }
}
