//! The gain of batched reads and of the connection pool on PostgreSQL.
//!
//! `tests/run bench --bench reads` reads projects by id from a new database of a durable
//! PostgreSQL, with 4, 16, 64 and 256 concurrent callers: in batches, as the server does;
//! each read alone, on the same pool; and alone on `sqlx_postgres::PgPool`. It alternates between
//! them for five rounds, and prints the medians and their ratios.

use std::{
    env,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use sluice::{
    database::{Database, DatabaseOptions, Target},
    domain::{
        AuditContext, Email, Name, OutagePolicy, ProjectId, PublishConflictPolicy, ReconnectWindow,
        RequestOrigin, SealedStreamKey, Tenant, UserId, now,
    },
    repositories::{NewProject, NewUser, Projects, Users},
};
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::{PgConnection, PgPool, PgPoolOptions, PgRow};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Concurrent callers.
const CALLERS: [usize; 4] = [4, 16, 64, 256];

/// Projects in the database.
const PROJECTS: usize = 1000;

/// The duration of a round.
const ROUND_TIME: Duration = Duration::from_secs(2);

/// Rounds of each kind.
const ROUNDS: usize = 5;

/// The statement of `Projects::get`.
const SELECT: &str =
    "select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
            p.outage_policy, p.stream_key_hint, s.id as live_stream_id, p.revision,
            p.create_time, p.update_time
     from projects p
     left join streams s on s.project_id = p.id and s.end_time is null
     where p.id = $1 and p.owner_id = $2 and p.delete_time is null
       and ($3 is null or exists (
           select 1 from api_key_projects k
           where k.api_key_id = $3 and k.project_id = p.id))";

/// The way that projects are read.
#[derive(Clone)]
enum Reads {
    /// In batches.
    Batched(Projects),
    /// Alone, on a connection of our pool.
    Alone(Database),
    /// Alone, on a connection of sqlx's pool.
    Sqlx(PgPool),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = env::var("SLUICE_TEST_POSTGRES_URL")
        .context("SLUICE_TEST_POSTGRES_URL names a PostgreSQL server")?;
    let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
    let name = format!("sluice_bench_{}", std::process::id());
    let mut admin = PgConnection::connect(&url).await?;
    let create = AssertSqlSafe(format!("create database {name}"));
    sqlx::raw_sql(create).execute(&mut admin).await?;
    let measured = measure(&format!("{server}/{name}")).await;
    let drop_database = AssertSqlSafe(format!("drop database {name} with (force)"));
    sqlx::raw_sql(drop_database).execute(&mut admin).await?;
    measured
}

async fn measure(url: &str) -> anyhow::Result<()> {
    // The default pool size of the server.
    let size = 2 * u32::try_from(thread::available_parallelism()?.get())? + 1;
    let database = Database::open(&DatabaseOptions {
        target: url
            .parse::<Target>()
            .map_err(|error| anyhow::anyhow!(error))?,
        pool_size: size,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(6),
        slow_query: Duration::from_secs(1),
    });
    database.migrate().await?;
    let (owner, ids) = fill(&database).await?;
    let pool = PgPoolOptions::new()
        .max_connections(size)
        .test_before_acquire(false)
        .connect(url)
        .await?;
    sqlx::raw_sql("analyze").execute(&pool).await?;

    let batched = Reads::Batched(Projects::new(database.clone()));
    let sides = [batched, Reads::Alone(database), Reads::Sqlx(pool)];
    println!("callers    batched      alone       sqlx   reads a second");
    for callers in CALLERS {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (side, rates) in sides.iter().zip(&mut rates) {
                rates.push(rate(side, callers, owner, &ids).await?);
            }
        }
        let [batched, alone, sqlx] = rates.map(median);
        println!("{callers:>7} {batched:>10.0} {alone:>10.0} {sqlx:>10.0}");
        println!(
            "        batched / alone {:.2}, alone / sqlx {:.2}",
            batched / alone,
            alone / sqlx
        );
    }
    Ok(())
}

/// Reads a second of so many callers.
async fn rate(
    side: &Reads,
    callers: usize,
    owner: UserId,
    ids: &Arc<Vec<ProjectId>>,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut reading = JoinSet::new();
    for number in 0..callers {
        let ids = Arc::clone(ids);
        let side = match side {
            // A repository of its own has a batcher of its own, so each read goes alone.
            Reads::Alone(database) => Reads::Batched(Projects::new(database.clone())),
            side => side.clone(),
        };
        reading.spawn(async move {
            let mut count = 0_usize;
            while start.elapsed() < ROUND_TIME {
                read(&side, owner, ids[(37 * number + count) % ids.len()]).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(read) = reading.join_next().await {
        count += read??;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

async fn read(side: &Reads, owner: UserId, id: ProjectId) -> anyhow::Result<()> {
    let tenant = Tenant::of_user(owner);
    match side {
        Reads::Batched(projects) => drop(projects.get(tenant, id).await?),
        Reads::Alone(_) => anyhow::bail!("each caller has its own"),
        Reads::Sqlx(pool) => {
            let row: PgRow = sqlx::query(SELECT)
                .bind(id.uuid())
                .bind(owner.uuid())
                .bind(None::<Uuid>)
                .fetch_one(pool)
                .await?;
            drop(row);
        }
    }
    Ok(())
}

/// A user with projects.
async fn fill(database: &Database) -> anyhow::Result<(UserId, Arc<Vec<ProjectId>>)> {
    let user = NewUser {
        id: UserId::generate(),
        email: Email::parse("ada@example.com").map_err(|error| anyhow::anyhow!(error.0))?,
        display_name: Name::parse("Ada").map_err(|error| anyhow::anyhow!(error.0))?,
        password_hash: String::new(),
        idempotency: None,
        verify: false,
    };
    let audit =
        |user| AuditContext::for_user("CreateProject", Some(user), RequestOrigin::default());
    let users = Users::new(database.clone());
    let owner = users.create(&user, &audit(user.id), now()).await?.id;
    let tenant = Tenant::of_user(owner);
    let projects = Projects::new(database.clone());
    let mut ids = Vec::new();
    for _ in 0..PROJECTS {
        let id = ProjectId::generate();
        let project = NewProject {
            id,
            display_name: Name::parse("Show").map_err(|error| anyhow::anyhow!(error.0))?,
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
        projects
            .create(tenant, &project, &audit(owner), now())
            .await?;
        ids.push(id);
    }
    Ok((owner, Arc::new(ids)))
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
