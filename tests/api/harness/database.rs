use std::{
    env, fs,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sluice::database::{Database, DatabaseOptions, Target};
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::reused_database::{CLEAN, Lease};

/// The engine that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A database of one test, with the directory of its server.
pub struct TestDatabase {
    pub url: String,
    pub directory: TempDir,
    pub lease: Lease,
}

/// The migrated databases that others are copied from: a file's bytes, a database's name.
static SQLITE: OnceCell<Vec<u8>> = OnceCell::const_new();
static POSTGRES: OnceCell<String> = OnceCell::const_new();

static COUNT: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// An empty database with the schema in place.
    pub async fn create(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        match engine {
            Engine::Sqlite => {
                let template = SQLITE.get_or_init(sqlite_template).await;
                fs::write(directory.path().join("sluice.db"), template).unwrap();
                Self {
                    url: sqlite_url(&directory),
                    directory,
                    lease: Lease::none(),
                }
            }
            Engine::Postgres => {
                let name = migrated().await;
                Self {
                    url: server_url(&name),
                    directory,
                    lease: Lease::of(&name),
                }
            }
        }
    }

    /// A database without any table.
    pub async fn empty(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let url = match engine {
            Engine::Sqlite => sqlite_url(&directory),
            Engine::Postgres => {
                let name = unique("empty");
                run(&format!("create database {name}")).await;
                server_url(&name)
            }
        };
        Self {
            url,
            directory,
            lease: Lease::none(),
        }
    }

    /// Runs a statement directly, for what no RPC does, such as moving time.
    pub async fn execute(&self, statement: &str) {
        self.lease.note(statement);
        if self.url.starts_with("sqlite:") {
            let mut connection = sqlx_sqlite::SqliteConnection::connect(&self.url)
                .await
                .unwrap();
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        }
    }

    /// Whether a statement violates a unique constraint of the schema.
    pub async fn refuses(&self, statement: &str) -> bool {
        let outcome = if self.url.starts_with("sqlite:") {
            let mut connection = sqlx_sqlite::SqliteConnection::connect(&self.url)
                .await
                .unwrap();
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .map(drop)
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .map(drop)
        };
        outcome.is_err_and(|error| error.as_database_error().unwrap().is_unique_violation())
    }

    /// The first column of the first row of a query, a number.
    pub async fn number(&self, query: &str) -> i64 {
        if self.url.starts_with("sqlite:") {
            let mut connection = sqlx_sqlite::SqliteConnection::connect(&self.url)
                .await
                .unwrap();
            sqlx::query_scalar(AssertSqlSafe(query))
                .fetch_one(&mut connection)
                .await
                .unwrap()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(AssertSqlSafe(query))
                .fetch_one(&mut connection)
                .await
                .unwrap()
        }
    }
}

/// The name of a migrated database without rows: one that another test has used, or a new one.
async fn migrated() -> String {
    while let Some(name) = Lease::take() {
        let mut connection = PgConnection::connect(&server_url(&name)).await.unwrap();
        let cleaned = sqlx::raw_sql(CLEAN).execute(&mut connection).await;
        connection.close().await.unwrap();
        // One that cannot be cleaned is left alone.
        if cleaned.is_ok() {
            return name;
        }
    }
    let template = POSTGRES.get_or_init(postgres_template).await;
    let name = unique("test");
    run(&format!("create database {name} template {template}")).await;
    name
}

/// The bytes of a migrated database file.
async fn sqlite_template() -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    migrate(&sqlite_url(&directory)).await;
    fs::read(directory.path().join("sluice.db")).unwrap()
}

/// The name of a migrated database.
async fn postgres_template() -> String {
    let name = unique("template");
    run(&format!("create database {name}")).await;
    migrate(&server_url(&name)).await;
    name
}

/// Applies all migrations to a database, and closes it.
async fn migrate(url: &str) {
    let database = Database::open(&DatabaseOptions {
        target: url.parse::<Target>().unwrap(),
        pool_size: 2,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(6),
        slow_query: Duration::from_secs(1),
    });
    database.migrate().await.unwrap();
    database.close().await;
}

fn sqlite_url(directory: &TempDir) -> String {
    format!("sqlite:{}", directory.path().join("sluice.db").display())
}

fn unique(purpose: &str) -> String {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("sluice_{purpose}_{}_{number}", std::process::id())
}

async fn run(statement: &str) {
    let mut connection = PgConnection::connect(&server_url("postgres"))
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
}

fn server_url(database: &str) -> String {
    let url = env::var("SLUICE_TEST_POSTGRES_URL").expect(
        "SLUICE_TEST_POSTGRES_URL names a PostgreSQL server: run the tests with `make test`",
    );
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{database}")
}
