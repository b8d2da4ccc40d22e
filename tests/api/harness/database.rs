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
use uuid::Uuid;

use super::{
    PgBouncer, PoolMode,
    database_reuse::{DatabaseReuse, RESET_SQL},
};

/// The database engine of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
    /// PostgreSQL, which servers use through PgBouncer in transaction mode.
    Pooled,
}

/// The database of a test, and the data directory of its server.
pub struct TestDatabase {
    /// The URL for the test itself, without PgBouncer.
    pub url: String,
    pub directory: TempDir,
    pub reuse: DatabaseReuse,
    pub pooling: Pooling,
}

/// What servers use the database of a test through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pooling {
    /// PgBouncer in the mode `SLUICE_TEST_POOLER`, if that is set.
    Environment,
    /// The PgBouncer that tests share, with this URL of the database.
    Shared(String),
    /// Nothing: the test needs sessions of PostgreSQL, as LISTEN does.
    Direct,
}

/// The migrated templates: the bytes of a SQLite file, the name of a PostgreSQL database.
static SQLITE_TEMPLATE: OnceCell<Vec<u8>> = OnceCell::const_new();
static POSTGRES_TEMPLATE: OnceCell<String> = OnceCell::const_new();

static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// A migrated database without rows.
    pub async fn create(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        match engine {
            Engine::Sqlite => {
                let template = SQLITE_TEMPLATE.get_or_init(sqlite_template).await;
                fs::write(directory.path().join("sluice.db"), template).unwrap();
                Self {
                    url: sqlite_url(&directory),
                    directory,
                    reuse: DatabaseReuse::disabled(),
                    pooling: Pooling::Environment,
                }
            }
            Engine::Postgres | Engine::Pooled => {
                let name = migrated_database().await;
                let url = server_url(&name);
                let pooling = match engine {
                    Engine::Pooled => Pooling::Shared(PgBouncer::shared_url(&url).await),
                    _ => Pooling::Environment,
                };
                Self {
                    url,
                    directory,
                    reuse: DatabaseReuse::enabled(&name),
                    pooling,
                }
            }
        }
    }

    /// The database, which servers use without PgBouncer.
    pub fn direct(self) -> Self {
        Self {
            pooling: Pooling::Direct,
            ..self
        }
    }

    /// The environment variables of the database for a server process.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        match &self.pooling {
            Pooling::Shared(url) => PoolMode::Transaction.settings(url).to_vec(),
            Pooling::Environment | Pooling::Direct => vec![("DATABASE_URL", &self.url)],
        }
    }

    /// A database without tables.
    pub async fn empty(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let url = match engine {
            Engine::Sqlite => sqlite_url(&directory),
            Engine::Postgres | Engine::Pooled => {
                let name = unique_name("empty");
                execute_on_server(&format!("create database {name}")).await;
                server_url(&name)
            }
        };
        Self {
            url,
            directory,
            reuse: DatabaseReuse::disabled(),
            pooling: Pooling::Environment,
        }
    }

    /// Runs a statement that no RPC offers, for example to shift a time.
    pub async fn execute(&self, statement: &str) {
        self.reuse.record(statement);
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

    /// Runs a statement; returns whether it violates a unique constraint.
    pub async fn violates_unique_constraint(&self, statement: &str) -> bool {
        let result = if self.url.starts_with("sqlite:") {
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
        result.is_err_and(|error| error.as_database_error().unwrap().is_unique_violation())
    }

    /// Makes the database refuse to delete the rows of a table that have a value in a column.
    pub async fn keep_rows(&self, table: &str, column: &str, value: &str) {
        if self.url.starts_with("sqlite:") {
            let value = match value.parse::<Uuid>() {
                Ok(id) => format!("unhex('{}')", id.simple()),
                Err(_) => format!("'{value}'"),
            };
            let trigger = format!(
                "create trigger keep before delete on {table} when old.{column} = {value}
                 begin select raise(abort, 'kept'); end"
            );
            self.execute(&trigger).await;
        } else {
            let function = "create function keep() returns trigger language plpgsql as
                            $$ begin raise exception 'kept'; end $$";
            self.execute(function).await;
            let trigger = format!(
                "create trigger keep before delete on {table} for each row
                 when (old.{column} = '{value}') execute function keep()"
            );
            self.execute(&trigger).await;
        }
    }

    /// Makes PostgreSQL refuse all writes to the database, like a standby, in every session.
    pub async fn refuse_writes(&self) {
        self.set_default_of_sessions("set default_transaction_read_only = on")
            .await;
    }

    /// Ends [`refuse_writes`](Self::refuse_writes).
    pub async fn accept_writes(&self) {
        self.set_default_of_sessions("reset default_transaction_read_only")
            .await;
    }

    async fn set_default_of_sessions(&self, setting: &str) {
        let (_, name) = self.url.rsplit_once('/').unwrap();
        self.execute(&format!(
            "begin read write;
             alter database {name} {setting};
             commit;
             select pg_terminate_backend(pid)
             from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()"
        ))
        .await;
    }

    /// Runs a query that returns one number.
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

/// The name of a migrated database without rows, reused or new.
async fn migrated_database() -> String {
    while let Some(name) = DatabaseReuse::take_free() {
        let mut connection = PgConnection::connect(&server_url(&name)).await.unwrap();
        let reset = sqlx::raw_sql(RESET_SQL).execute(&mut connection).await;
        connection.close().await.unwrap();
        // A database that cannot be reset is not used again.
        if reset.is_ok() {
            return name;
        }
    }
    let template = POSTGRES_TEMPLATE.get_or_init(postgres_template).await;
    let name = unique_name("test");
    execute_on_server(&format!("create database {name} template {template}")).await;
    name
}

/// The bytes of a migrated SQLite file.
async fn sqlite_template() -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    migrate(&sqlite_url(&directory)).await;
    fs::read(directory.path().join("sluice.db")).unwrap()
}

/// The name of a migrated PostgreSQL database.
async fn postgres_template() -> String {
    let name = unique_name("template");
    execute_on_server(&format!("create database {name}")).await;
    migrate(&server_url(&name)).await;
    name
}

/// Applies all migrations to a database.
async fn migrate(url: &str) {
    let database = Database::open(&DatabaseOptions {
        target: url.parse::<Target>().unwrap(),
        pool_size: 2,
        acquire_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(20),
        slow_query: Duration::from_secs(1),
    });
    database.migrate().await.unwrap();
    database.close().await;
}

fn sqlite_url(directory: &TempDir) -> String {
    format!("sqlite:{}", directory.path().join("sluice.db").display())
}

fn unique_name(purpose: &str) -> String {
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("sluice_{purpose}_{}_{number}", std::process::id())
}

async fn execute_on_server(statement: &str) {
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
