use std::{
    env,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sluice::database::{Database, DatabaseOptions, Target};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

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
}

static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// An empty database with the schema in place.
    pub async fn create(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", directory.path().join("sluice.db").display()),
            Engine::Postgres => {
                let template = TEMPLATE.get_or_init(template).await;
                let name = unique("test");
                run(&format!("create database {name} template {template}")).await;
                server_url(&name)
            }
        };
        Self { url, directory }
    }

    /// A database without any table.
    pub async fn empty(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", directory.path().join("sluice.db").display()),
            Engine::Postgres => {
                let name = unique("empty");
                run(&format!("create database {name}")).await;
                server_url(&name)
            }
        };
        Self { url, directory }
    }

    /// Runs a statement beside the server: what no RPC can do, such as moving time.
    pub async fn execute(&self, statement: &str) {
        if self.url.starts_with("sqlite:") {
            let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
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

    /// Whether the schema itself refuses a statement, as a unique value that is taken.
    pub async fn refuses(&self, statement: &str) -> bool {
        let outcome = if self.url.starts_with("sqlite:") {
            let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
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
            let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
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

/// A migrated database that the others are copied from.
async fn template() -> String {
    let name = unique("template");
    run(&format!("create database {name}")).await;
    let database = Database::open(&DatabaseOptions {
        target: server_url(&name).parse::<Target>().unwrap(),
        pool_size: 2,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(6),
        slow_query: Duration::from_secs(1),
    });
    database.migrate().await.unwrap();
    database.close().await;
    name
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
