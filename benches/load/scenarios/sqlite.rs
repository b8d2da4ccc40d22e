//! Scenarios on SQLite.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use sqlx_sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use super::Scenarios;
use crate::{
    caller::Load,
    comparison::{CPU, Comparison, P50, RATE},
    media_servers::{Counted, MediaServer},
    servers::Storage,
    users::{Account, accounts},
};

/// Callers at once.
const CALLERS: usize = 64;

/// The writes of CreateProject: keep them as `Projects::create` is.
const CREATE: &str = "insert into projects
         (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
          stream_key_hash, stream_key_sealed, stream_key_hint, revision, create_time, update_time)
     select randomblob(16), OWNER, 'Show', 0, 0, 'reject_new', randomblob(32), randomblob(96),
            'abcd', 1, TIME, TIME;
     insert into audit_events
         (id, user_id, create_time, action, result, session_id, api_key_id, resource_id,
          peer_address, user_agent)
     values (randomblob(16), OWNER, TIME, 'CreateProject', 'OK', OWNER, null, randomblob(16),
             '127.0.0.1', '');
     insert into events (project_id, revision, create_time, change)
     select id, 1, TIME, printf('%.330c', 'x') from projects where rowid = last_insert_rowid();";

/// The writes of BeginPublish and EndPublish: keep them as `PublishChanges` is.
const PUBLISH: &str =
    "insert into publishes (node_id, boot_id, connection_id, project_id, create_time)
     values ('n1', 'b1', hex(randomblob(16)), PROJECT, TIME);
     insert into streams
         (id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address, protocol,
          connected, create_time, last_seen_time)
     values (randomblob(16), PROJECT, 'connecting', 1, 'n1', 'b1', hex(randomblob(16)),
             '203.0.113.5', 'rtmp', 1, TIME, TIME);
     insert into events (project_id, revision, create_time, change)
     select id, revision + 1, TIME, printf('%.450c', 'x') from projects where id = PROJECT;
     update projects set revision = revision + 1 where id = PROJECT;
     update publishes set end_time = TIME where rowid = (select max(rowid) from publishes);
     update streams
     set status = 'ended', connected = 0, end_time = TIME, end_reason = 'publisher_ended'
     where project_id = PROJECT and end_time is null;
     insert into events (project_id, revision, create_time, change)
     select id, revision + 1, TIME, printf('%.500c', 'x') from projects where id = PROJECT;
     update projects set revision = revision + 1 where id = PROJECT;";

const NOW: &str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";

impl Scenarios<'_> {
    /// Writes, compared with the same writes of the bare driver, which share commits too.
    pub(super) async fn sqlite(&self) -> anyhow::Result<()> {
        let servers = self
            .bench
            .serve_all(Storage::Sqlite, &[("SLUICE_BCRYPT_COST", "4")])?;
        let (mut users, mut media) = (Vec::new(), Vec::new());
        for (side, server) in self.bench.sides.iter().zip(&servers) {
            users.push(accounts(server, "user", CALLERS).await?);
            media.push(MediaServer::register("n1", side, Storage::Sqlite, server).await?);
        }
        // Of the same size and schema, but nobody else writes to it.
        let copy = self.bench.ours().sqlite_file().with_file_name("bare.db");
        let mut bare = bare_copy(&self.bench.ours().sqlite_file(), &copy).await?;
        let bare = tokio::sync::Mutex::new(&mut bare);

        for (callers, name) in [
            (1, "SQLite: CreateProject, 1"),
            (CALLERS, "SQLite: CreateProject, 64"),
        ] {
            let sides = servers.iter().zip(&users).map(|(server, users)| {
                let creators = users[..callers].iter().map(Account::creator);
                (server, creators.collect::<Vec<_>>())
            });
            let sides: Vec<_> = sides.collect();
            let ceiling = async || {
                let mut bare = bare.lock().await;
                Ok(Some(
                    bare_rate(&mut bare, CREATE, callers, self.time).await?,
                ))
            };
            let load = Load::of(callers, self.time);
            let compared = Comparison::run(self.rounds, load, &sides, ceiling).await?;
            compared.print_ceiling(&format!("the same writes by sqlx, {callers} in a commit"));
            let ratio = compared.of_ceiling();
            let rate = match callers {
                CALLERS => RATE.at_least(4.0),
                _ => RATE,
            };
            compared.print(name, &[rate, P50, CPU]);
            println!("  of sqlx: {ratio:.2}");
        }
        let sides = servers
            .iter()
            .zip(&media)
            .zip(&users)
            .map(|((server, media), users)| {
                let keys = users.iter().map(|user| &user.stream_keys[1]);
                let publishers = keys.map(|key| media.publisher(key, Counted::Cycle));
                (server, publishers.collect::<Vec<_>>())
            });
        let sides: Vec<_> = sides.collect();
        let ceiling = async || {
            let mut bare = bare.lock().await;
            Ok(Some(
                bare_rate(&mut bare, PUBLISH, CALLERS, self.time).await?,
            ))
        };
        let load = Load::of(CALLERS, self.time);
        let compared = Comparison::run(self.rounds, load, &sides, ceiling).await?;
        compared.print_ceiling("the same writes by sqlx, 64 in a commit");
        let ratio = compared.of_ceiling();
        compared.print(
            "SQLite: BeginPublish and EndPublish, 64",
            &[RATE.at_least(3.0), P50, CPU],
        );
        println!("  of sqlx: {ratio:.2}");
        Ok(())
    }
}

/// Opens a copy of a database.
async fn bare_copy(file: &Path, copy: &Path) -> anyhow::Result<SqliteConnection> {
    let mut source = SqliteConnectOptions::new().filename(file).connect().await?;
    sqlx::query("vacuum into $1")
        .bind(copy.to_str())
        .execute(&mut source)
        .await?;
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    Ok(options.connect().await?)
}

/// The writes of a second, with this number of them in each commit.
async fn bare_rate(
    connection: &mut SqliteConnection,
    writes: &str,
    group: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let writes = writes
        .replace("OWNER", "(select id from users limit 1)")
        .replace("PROJECT", "(select id from projects limit 1)")
        .replace("TIME", NOW);
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < time {
        connection.execute("begin immediate").await?;
        for _ in 0..group {
            // As a query, so that it is prepared once.
            let query = sqlx::query(AssertSqlSafe(writes.clone()));
            query.execute(&mut *connection).await?;
            count += 1;
        }
        connection.execute("commit").await?;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}
