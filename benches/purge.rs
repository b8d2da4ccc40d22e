//! The effect of a huge deletion on other writes.
//!
//! `tests/run bench --bench purge` fills a project with a million ended streams and their
//! events, on SQLite and on PostgreSQL, and deletes the account of its owner. Meanwhile others
//! create projects. It prints how long the call and the deletion of the rows take, and the
//! latency of the other writes without and with it.

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use sluice::{
    database::{Database, DatabaseOptions, Target},
    domain::{
        AuditContext, Email, Name, OutagePolicy, ProjectId, PublishConflictPolicy, ReconnectWindow,
        RequestOrigin, SealedStreamKey, Tenant, UserId, now,
    },
    jobs,
    repositories::{NewProject, NewUser, Projects, Users},
};
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Streams of the deleted project.
const STREAMS: u32 = 1_000_000;

/// Concurrent other writers, and the pause of each between two writes.
const WRITERS: usize = 8;
const WRITER_PAUSE: Duration = Duration::from_millis(10);

/// The duration of the measurement without a deletion.
const QUIET_TIME: Duration = Duration::from_secs(10);

/// The maximum duration of the deletion.
const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The stored hash of every password.
const PASSWORD_HASH: &str = "hash";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir_in(env::current_dir()?.join("target"))?;
    let file = directory.path().join("sluice.db");
    measure("SQLite", &Side::sqlite(&file)).await?;

    let server = env::var("SLUICE_TEST_POSTGRES_URL").context(
        "SLUICE_TEST_POSTGRES_URL names a PostgreSQL server: run `tests/run bench --bench purge`",
    )?;
    let name = format!("sluice_bench_purge_{}", std::process::id());
    let administration = Side::postgres(server.clone());
    administration
        .execute(format!("create database {name}"))
        .await?;
    let (host, _) = server.rsplit_once('/').context("a URL with a database")?;
    measure("PostgreSQL", &Side::postgres(format!("{host}/{name}"))).await?;
    let drop_database = format!("drop database {name} with (force)");
    administration.execute(drop_database).await
}

async fn measure(engine: &str, side: &Side) -> anyhow::Result<()> {
    let database = side.open()?;
    database.migrate().await?;
    let users = Users::new(database.clone());
    let owner = new_user(&users, "ada@example.com").await?;
    let other = new_user(&users, "grace@example.com").await?;
    let project = new_project(&Projects::new(database.clone()), owner).await?;
    side.fill(project).await?;
    let deletion = tokio::spawn(jobs::delete_orphaned_projects(database.clone()));
    let purge = tokio::spawn(jobs::purge_deleted(database.clone()));

    let quiet = write_until(&database, other, sleep(QUIET_TIME)).await?;
    let begun = Instant::now();
    let audit = AuditContext::for_user("DeleteMe", Some(owner), RequestOrigin::default());
    users.delete(owner, PASSWORD_HASH, &audit, now()).await?;
    let call = begun.elapsed();
    let gone = async {
        while side.count("users").await.is_ok_and(|users| users > 1) {
            sleep(Duration::from_millis(500)).await;
        }
    };
    let purged = timeout(TIME_LIMIT, write_until(&database, other, gone)).await;
    let during = purged.context("the rows are not deleted")??;
    let total = begun.elapsed();

    let streams = side.count("streams").await?;
    anyhow::ensure!(streams == 0, "{streams} streams are left");
    println!("{engine}: {STREAMS} streams");
    println!("  the call              {:>10.1} ms", millis(call));
    println!("  all rows are deleted  {:>10.1} s", total.as_secs_f64());
    print_latency("other writes before", &quiet);
    print_latency("other writes meanwhile", &during);
    deletion.abort();
    purge.abort();
    database.close().await;
    Ok(())
}

/// A database.
struct Side {
    url: String,
}

impl Side {
    fn sqlite(file: &Path) -> Self {
        Self {
            url: format!("sqlite:{}", file.display()),
        }
    }

    fn postgres(url: String) -> Self {
        Self { url }
    }

    fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    fn open(&self) -> anyhow::Result<Database> {
        let target: Target = self
            .url
            .parse()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Database::open(&DatabaseOptions {
            target,
            pool_size: 5,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(6),
            slow_query: Duration::from_millis(200),
        }))
    }

    async fn execute(&self, statement: String) -> anyhow::Result<()> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        } else {
            let mut connection = PgConnection::connect(&self.url).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(())
    }

    async fn count(&self, table: &str) -> anyhow::Result<i64> {
        let count = format!("select count(*) from {table}");
        let count = sqlx::query_scalar(AssertSqlSafe(count));
        Ok(if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            count.fetch_one(&mut connection).await?
        } else {
            let count = format!("select count(*) from {table}");
            let mut connection = PgConnection::connect(&self.url).await?;
            sqlx::query_scalar(AssertSqlSafe(count))
                .fetch_one(&mut connection)
                .await?
        })
    }

    /// Adds ended streams and their events to a project.
    async fn fill(&self, project: ProjectId) -> anyhow::Result<()> {
        let (project, id, numbers) = match self.is_sqlite() {
            true => (
                format!("unhex('{}')", project.uuid().simple()),
                "randomblob(16)",
                format!(
                    "(with recursive numbers (n) as (
                          select 1 union all select n + 1 from numbers where n < {STREAMS})
                      select n from numbers) as numbers"
                ),
            ),
            false => (
                format!("'{}'::uuid", project.uuid()),
                "gen_random_uuid()",
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
        self.execute(format!(
            "insert into events (project_id, revision, create_time, change)
             select {project}, n + 1000000, {time}, '{{}}'
             from {numbers}"
        ))
        .await?;
        self.execute("analyze".to_owned()).await
    }
}

async fn new_user(users: &Users, email: &str) -> anyhow::Result<UserId> {
    let user = NewUser {
        id: UserId::generate(),
        email: Email::parse(email).map_err(|fault| anyhow::anyhow!(fault.0))?,
        display_name: Name::parse("Ada").map_err(|fault| anyhow::anyhow!(fault.0))?,
        password_hash: PASSWORD_HASH.to_owned(),
        idempotency: None,
        verify: false,
    };
    let audit = AuditContext::for_user("SignUp", Some(user.id), RequestOrigin::default());
    Ok(users.create(&user, &audit, now()).await?.id)
}

async fn new_project(projects: &Projects, user: UserId) -> anyhow::Result<ProjectId> {
    let id = ProjectId::generate();
    let tenant = Tenant {
        user,
        restricted_to: None,
    };
    let project = NewProject {
        id,
        display_name: Name::parse("Show").map_err(|fault| anyhow::anyhow!(fault.0))?,
        reconnect_window: ReconnectWindow::default(),
        publish_conflict_policy: PublishConflictPolicy::RejectNew,
        outage_policy: OutagePolicy::End,
        stream_key: SealedStreamKey {
            hash: id.uuid().as_bytes().to_vec(),
            sealed: vec![0; 80],
            hint: "abcd".to_owned(),
        },
        idempotency: None,
    };
    let audit = AuditContext::for_user("CreateProject", Some(user), RequestOrigin::default());
    projects.create(tenant, &project, &audit, now()).await?;
    Ok(id)
}

/// The latencies of other writes in microseconds, until something is over.
async fn write_until(
    database: &Database,
    user: UserId,
    over: impl Future<Output = ()>,
) -> anyhow::Result<Histogram<u64>> {
    let stop = CancellationToken::new();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (projects, stop) = (Projects::new(database.clone()), stop.clone());
        writers.spawn(async move {
            let mut latencies = Vec::new();
            while !stop.is_cancelled() {
                let begun = Instant::now();
                new_project(&projects, user).await?;
                latencies.push(begun.elapsed());
                sleep(WRITER_PAUSE).await;
            }
            anyhow::Ok(latencies)
        });
    }
    over.await;
    stop.cancel();

    let mut histogram = Histogram::new(3)?;
    while let Some(latencies) = writers.join_next().await {
        for latency in latencies?? {
            histogram.record(u64::try_from(latency.as_micros())?)?;
        }
    }
    Ok(histogram)
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
