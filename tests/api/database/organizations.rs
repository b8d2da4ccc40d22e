//! The migration to organizations, of which the previous version knows nothing.

use std::fs;

use rstest::rstest;
use sqlx::{AssertSqlSafe, Connection, migrate::Migrator};
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;
use tempfile::TempDir;

use crate::harness::{Engine, Postgres, Process, Sqlite, TestDatabase};

/// The last migration of the previous version.
const PREVIOUS: u32 = 30;

/// What the previous version writes for a new account, its project with a destination, and a
/// webhook.
const ACCOUNT: &str = "
    insert into users (id, email, email_key, email_verified, display_name, create_time,
                       update_time)
    values (ID, 'aN', 'aN', true, 'Ada', '2026-01-01T00:00:00+00:00',
            '2026-01-01T00:00:00+00:00');
    insert into projects (id, owner_id, name, disabled, reconnect_window_ms,
                          publish_conflict_policy, stream_key_hint, revision, create_time,
                          update_time)
    select id, id, 'Show', false, 0, 'reject_new', '0000', 1, create_time, create_time
    from users
    where id = ID and delete_time is null;
    insert into destinations (id, project_id, platform, name, url, stream_key_sealed,
                              stream_key_hint, enabled, create_time, update_time)
    select id, id, 'custom', 'Main', 'rtmp://live.example.com/app', BYTES, '', true, create_time,
           create_time
    from projects
    where id = ID;
    insert into webhooks (id, owner_id, project_id, url, description, event_types, enabled,
                          secret_sealed, create_time, update_time)
    select id, owner_id, id, 'https://example.com', '', '', true, BYTES, create_time, create_time
    from projects
    where id = ID;
    insert into webhook_cursors (webhook_id, project_id, revision, next_attempt_time)
    select id, project_id, 1, create_time
    from webhooks
    where id = ID;";

/// What the previous version writes when an account is deleted, and later.
const DELETION: &str = "
    update users set delete_time = '2026-01-02T00:00:00+00:00', email = '', email_key = 'deleted'
    where id = ID;";
const PURGE: &str = "
    delete from webhooks where owner_id = ID;
    delete from projects where owner_id = ID;
    delete from users where id = ID;";

/// A statement about the account with this number.
fn about(database: &TestDatabase, sql: &str, number: u8) -> String {
    let (id, bytes) = match database.url.starts_with("sqlite:") {
        true => (format!("x'{number:032x}'"), "x'00'"),
        false => (
            format!("'00000000-0000-0000-0000-{number:012x}'"),
            "'\\x00'::bytea",
        ),
    };
    sql.replace("aN", &format!("a{number}"))
        .replace("ID", &id)
        .replace("BYTES", bytes)
}

/// A database of the previous version.
async fn previous_database(engine: Engine) -> TestDatabase {
    let database = TestDatabase::empty(engine).await;
    let (name, directory) = match engine {
        Engine::Sqlite => ("sqlite", TempDir::new().unwrap()),
        Engine::Postgres | Engine::Pooled => ("postgres", TempDir::new().unwrap()),
    };
    for entry in fs::read_dir(format!("migrations/{name}")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let (number, _) = file.split_once('_').unwrap();
        if number.parse::<u32>().unwrap() <= PREVIOUS {
            fs::copy(&path, directory.path().join(file)).unwrap();
        }
    }
    let migrator = Migrator::new(directory.path()).await.unwrap();
    match engine {
        Engine::Sqlite => {
            let url = format!("{}?mode=rwc", database.url);
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            migrator.run(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Engine::Postgres | Engine::Pooled => {
            let mut connection = PgConnection::connect(&database.url).await.unwrap();
            migrator.run(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
    database
}

async fn migrate(database: &TestDatabase) {
    let output = Process::run(Process::command(&["migrate"], &database.settings())).await;
    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
}

/// The numbers of rows of a table that concern accounts.
async fn count(database: &TestDatabase, table: &str) -> i64 {
    database
        .number(&format!("select count(*) from {table}"))
        .await
}

/// Executes with foreign keys; the error of the engine if they or something else refuse it.
async fn try_execute(database: &TestDatabase, sql: String) -> Result<(), sqlx::Error> {
    match database.url.starts_with("sqlite:") {
        true => {
            let mut connection = SqliteConnection::connect(&database.url).await?;
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await?;
            connection.close().await
        }
        false => {
            let mut connection = PgConnection::connect(&database.url).await?;
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await?;
            connection.close().await
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_migration_keeps_every_row_and_gives_each_user_a_personal_organization(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = previous_database(engine).await;
    for number in 1..=3 {
        database.execute(&about(&database, ACCOUNT, number)).await;
    }
    database.execute(&about(&database, DELETION, 3)).await;

    migrate(&database).await;

    for table in [
        "users",
        "projects",
        "destinations",
        "webhooks",
        "webhook_cursors",
        "organizations",
    ] {
        assert_eq!(count(&database, table).await, 3, "{table}");
    }
    let owned = "memberships m
        join organizations o on o.id = m.organization_id and o.personal
        join projects p on p.owner_id = o.id
        where m.user_id = o.id and m.role = 'owner'";
    assert_eq!(count(&database, owned).await, 2);
    // A deleted account is a member of nothing.
    assert_eq!(count(&database, "memberships").await, 2);
    let deleted = "organizations where delete_time is not null";
    assert_eq!(count(&database, deleted).await, 1);
}

#[rstest]
#[tokio::test]
async fn the_previous_version_creates_and_deletes_accounts_and_projects(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = previous_database(engine).await;
    migrate(&database).await;

    database.execute(&about(&database, ACCOUNT, 1)).await;
    let personal = "memberships where organization_id = user_id and role = 'owner'";
    assert_eq!(count(&database, personal).await, 1);

    database.execute(&about(&database, DELETION, 1)).await;
    assert_eq!(count(&database, "memberships").await, 0);
    let deleted = "organizations where delete_time is not null";
    assert_eq!(count(&database, deleted).await, 1);

    database.execute(&about(&database, PURGE, 1)).await;
    for table in [
        "organizations",
        "projects",
        "destinations",
        "webhook_cursors",
    ] {
        assert_eq!(count(&database, table).await, 0, "{table}");
    }
}

#[rstest]
#[tokio::test]
async fn a_project_needs_an_organization_that_exists(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    database.execute(&about(&database, ACCOUNT, 1)).await;
    let moved = about(&database, "update projects set owner_id = ID", 2);

    assert!(try_execute(&database, moved).await.is_err());

    let organization = "
        insert into organizations (id, display_name, personal, create_time, update_time)
        values (ID, 'Studio', false, '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00');
        update projects set owner_id = ID;";
    let organization = about(&database, organization, 2);
    try_execute(&database, organization).await.unwrap();
}
