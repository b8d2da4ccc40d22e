//! The effect of a huge deletion on other writes.
//!
//! `tests/run bench --bench purge` runs the real server, on SQLite and on PostgreSQL. It fills a project
//! with a million ended streams, their events and relays, and deletes it; then it fills another one, and
//! deletes the account of its owner. Others create projects, from the call until all rows are gone. It
//! prints how long the calls and the deletion of the rows take, and the latency of the other writes without
//! and with it. If the 99th percentile of the other writes is above 100 ms, it prints MISSED and ends with
//! exit code 1. Arguments after `--` select engines.

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient,
};
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, transport::Channel};

#[expect(dead_code, reason = "another benchmark uses more of it")]
#[path = "attacks/server.rs"]
mod server;

use server::Server;

/// Streams of a deleted project, and how many of them have a relay.
const STREAMS: u32 = 1_000_000;
const STREAMS_PER_RELAY: u32 = 10;

/// Concurrent other writers, each a user, and the pause of each between two writes.
const WRITERS: usize = 8;
const WRITER_PAUSE: Duration = Duration::from_millis(10);

/// The duration of the measurement without a deletion.
const QUIET_TIME: Duration = Duration::from_secs(10);

/// The maximum duration of a deletion.
const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The goal: the 99th percentile of other writes meanwhile.
const MAX_P99: Duration = Duration::from_millis(100);

const PASSWORD: &str = "correct horse battery staple";

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let names: Vec<_> = env::args()
        .skip(1)
        .filter(|name| !name.starts_with("--"))
        .collect();
    let mut is_met = true;
    for engine in ["SQLite", "PostgreSQL"] {
        if names.is_empty() || names.iter().any(|name| name == engine) {
            is_met &= measure(engine).await?;
        }
    }
    Ok(match is_met {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Returns whether the goal is met.
async fn measure(engine: &str) -> anyhow::Result<bool> {
    // The tokens of the writers must not expire meanwhile.
    let settings = [("SLUICE_ACCESS_TOKEN_LIFETIME", "1day")];
    let server = Server::start(engine, &settings).await?;
    let database = Filled(server.database_url());
    let endpoint = Channel::from_shared(format!("http://{}", server.address))?;
    let channel = endpoint.connect().await?;
    let owner = User::sign_up(&channel, "ada@example.com").await?;
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        writers.push(User::sign_up(&channel, &format!("writer{number}@example.com")).await?);
    }
    let (quiet, ()) = write_until(&writers, sleep(QUIET_TIME)).await?;
    println!(
        "{engine}: {STREAMS} streams, {} relays",
        STREAMS / STREAMS_PER_RELAY
    );
    print_latency("other writes before", &quiet);

    let project = owner.create_filled_project(&database).await?;
    let by_project = database.purge(&writers, ("a deleted project", &project), async {
        owner.delete_project(&project).await?;
        // As if its rows had been kept for the seven days.
        let aged = "update projects set delete_time = '2020-01-01T00:00:00+00:00'
                    where delete_time is not null";
        database.execute(aged.to_owned()).await
    });
    let by_project = by_project.await?;

    let project = owner.create_filled_project(&database).await?;
    let what = ("a deleted account", &*project);
    let by_account = database
        .purge(&writers, what, owner.delete_account())
        .await?;
    server.stop().await?;
    Ok(by_project && by_account)
}

/// A signed-up user.
struct User {
    channel: Channel,
    token: String,
}

impl User {
    async fn sign_up(channel: &Channel, email: &str) -> anyhow::Result<Self> {
        let request = pb::SignUpRequest {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            display_name: "Ada".to_owned(),
            request_id: String::new(),
        };
        let mut auth = AuthServiceClient::new(channel.clone());
        let answer = auth.sign_up(request).await?.into_inner();
        Ok(Self {
            channel: channel.clone(),
            token: answer.tokens.context("tokens")?.access_token,
        })
    }

    fn request<T>(&self, message: T) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        Ok(request)
    }

    fn projects(&self) -> ProjectServiceClient<Channel> {
        ProjectServiceClient::new(self.channel.clone())
    }

    /// Returns the id of a new project.
    async fn create_project(&self) -> anyhow::Result<String> {
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            ..Default::default()
        };
        let mut projects = self.projects();
        let created = projects.create_project(self.request(request)?);
        Ok(created.await?.into_inner().project.context("a project")?.id)
    }

    /// The same with a destination, streams, events and relays.
    async fn create_filled_project(&self, database: &Filled) -> anyhow::Result<String> {
        let project_id = self.create_project().await?;
        let request = pb::CreateDestinationRequest {
            project_id: project_id.clone(),
            platform: pb::Platform::Twitch.into(),
            display_name: "Twitch".to_owned(),
            stream_key: "live_1_2".to_owned(),
            ..Default::default()
        };
        let mut projects = self.projects();
        let created = projects.create_destination(self.request(request)?);
        let destination = created.await?.into_inner().destination;
        let destination = destination.context("a destination")?;
        database.fill(&project_id, &destination.id).await?;
        Ok(project_id)
    }

    async fn delete_project(&self, project_id: &str) -> anyhow::Result<()> {
        let request = pb::DeleteProjectRequest {
            project_id: project_id.to_owned(),
            ..Default::default()
        };
        let mut projects = self.projects();
        let deleted = projects.delete_project(self.request(request)?);
        deleted.await?;
        Ok(())
    }

    async fn delete_account(&self) -> anyhow::Result<()> {
        let request = pb::DeleteMeRequest {
            password: PASSWORD.to_owned(),
        };
        let mut auth = AuthServiceClient::new(self.channel.clone());
        auth.delete_me(self.request(request)?).await?;
        Ok(())
    }
}

/// The database of the server, by its URL.
struct Filled(String);

impl Filled {
    fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    async fn execute(&self, statement: String) -> anyhow::Result<()> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.0).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        } else {
            let mut connection = PgConnection::connect(&self.0).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(())
    }

    /// Whether the row of a project is left, which goes last.
    async fn has_project(&self, project_id: &str) -> anyhow::Result<bool> {
        let sql = format!(
            "select count(*) from projects where id = {}",
            self.uuid(project_id)
        );
        let sql = AssertSqlSafe(sql);
        let count: i64 = if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.0).await?;
            sqlx::query_scalar(sql).fetch_one(&mut connection).await?
        } else {
            let mut connection = PgConnection::connect(&self.0).await?;
            sqlx::query_scalar(sql).fetch_one(&mut connection).await?
        };
        Ok(count > 0)
    }

    fn uuid(&self, id: &str) -> String {
        match self.is_sqlite() {
            true => format!("unhex('{}')", id.replace('-', "")),
            false => format!("'{id}'::uuid"),
        }
    }

    /// Adds ended streams, their events and relays to a project. Ids of streams increase, as those
    /// of the server do.
    async fn fill(&self, project_id: &str, destination_id: &str) -> anyhow::Result<()> {
        let (project, destination) = (self.uuid(project_id), self.uuid(destination_id));
        let (id, numbers) = match self.is_sqlite() {
            true => (
                "unhex(printf('%012x', n) || hex(randomblob(10)))",
                format!(
                    "(with recursive numbers (n) as (
                          select 1 union all select n + 1 from numbers where n < {STREAMS})
                      select n from numbers) as numbers"
                ),
            ),
            false => (
                "overlay(gen_random_uuid()::text placing
                     to_hex(n >> 16 | 1 << 31) || '-' || lpad(to_hex(n & 65535), 4, '0')
                     from 1 for 13)::uuid",
                format!("generate_series(1, {STREAMS}) as numbers (n)"),
            ),
        };
        let time = "'2026-01-01T00:00:00+00:00'";
        self.execute(format!(
            "insert into streams
                 (id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
                  protocol, connected, create_time, last_seen_time, end_time, end_reason)
             select {id}, {project}, 'ended', 1, 'n1', 'b1', 'c' || n, '203.0.113.5', 'rtmp',
                    false, {time}, {time}, {time}, 'publisher_ended'
             from {numbers}"
        ))
        .await?;
        // As autovacuum would later: without it the checks of foreign keys expect an empty table.
        self.execute("analyze streams".to_owned()).await?;
        self.execute(format!(
            "insert into relays
                 (stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
                  bytes_sent, bitrate_bps, update_time)
             select id, {destination}, {project}, false, 'idle', 0, {time}, 0, 0, {time}
             from streams
             where project_id = {project}
             limit {}",
            STREAMS / STREAMS_PER_RELAY
        ))
        .await?;
        self.execute(format!(
            "insert into events (project_id, revision, create_time, change)
             select {project}, n + 1000000, {time}, '{{}}'
             from {numbers}"
        ))
        .await?;
        self.execute("analyze".to_owned()).await?;
        if self.is_sqlite() {
            // Otherwise the next commit of the server writes all of this to the file.
            self.execute("pragma wal_checkpoint(truncate)".to_owned())
                .await?;
        }
        Ok(())
    }

    /// Deletes, and waits until no stream is left, while others write. Returns whether the goal is
    /// met.
    async fn purge(
        &self,
        writers: &[User],
        (what, project_id): (&str, &str),
        delete: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<bool> {
        let begun = Instant::now();
        let gone = async {
            delete.await?;
            let call = begun.elapsed();
            while self.has_project(project_id).await? {
                sleep(Duration::from_millis(500)).await;
            }
            anyhow::Ok(call)
        };
        let purged = timeout(TIME_LIMIT, write_until(writers, gone)).await;
        let (during, call) = purged.context("the rows are not deleted")??;
        let call = call?;
        println!("  {what}: the call takes {:.1} ms", millis(call));
        println!(
            "  all rows are gone after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        print_latency("other writes meanwhile", &during);
        let p99 = Duration::from_micros(during.value_at_quantile(0.99));
        let is_met = p99 <= MAX_P99;
        println!("  {}", if is_met { "met" } else { "MISSED" });
        Ok(is_met)
    }
}

/// The latencies of other writes in microseconds, until something is over, and its output.
async fn write_until<T>(
    writers: &[User],
    over: impl Future<Output = T>,
) -> anyhow::Result<(Histogram<u64>, T)> {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for writer in writers {
        let writer = User {
            channel: writer.channel.clone(),
            token: writer.token.clone(),
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while !stop.is_cancelled() {
                let begun = Instant::now();
                writer.create_project().await?;
                latencies.push(begun.elapsed());
                sleep(WRITER_PAUSE).await;
            }
            anyhow::Ok(latencies)
        });
    }
    let output = over.await;
    stop.cancel();

    let mut histogram = Histogram::new(3)?;
    while let Some(latencies) = tasks.join_next().await {
        for latency in latencies?? {
            histogram.record(u64::try_from(latency.as_micros())?)?;
        }
    }
    Ok((histogram, output))
}

fn print_latency(what: &str, latencies: &Histogram<u64>) {
    let quantile = |quantile| millis(Duration::from_micros(latencies.value_at_quantile(quantile)));
    println!(
        "  {what:<22}{:>10.1} ms p50, {:.1} ms p99, {:.1} ms at most, {} writes",
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
        latencies.len()
    );
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
