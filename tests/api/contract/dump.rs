//! The contents of a database, as text.

use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;

use crate::harness::{TestDatabase, eventually};

/// Every row of every table, each as a line that begins with the table's name.
pub async fn dump(database: &TestDatabase) -> Vec<String> {
    let mut rows = if database.url.starts_with("sqlite:") {
        dump_sqlite(&database.url).await
    } else {
        dump_postgres(&database.url).await
    };
    rows.sort_unstable();
    rows
}

/// The same, once jobs have nothing left to do: no message to send and no deleted row, except
/// those of projects, which stay for days.
pub async fn settled_dump(database: &TestDatabase) -> Vec<String> {
    let waiting = "select (select count(*) from outbox)
        + (select count(*) from users where delete_time is not null)
        + (select count(*) from organizations o
           where delete_time is not null
             and not exists (select 1 from projects p where p.owner_id = o.id))
        + (select count(*) from destinations where delete_time is not null)
        + (select count(*) from organizations
           where delete_time is not null and not personal
             and not exists (select 1 from projects where owner_id = organizations.id))
        + (select count(*) from webhooks
           where delete_time is not null
              or project_id in (select id from projects where delete_time is not null))";
    eventually("the jobs have nothing to do", async || {
        (database.number(waiting).await == 0).then_some(())
    })
    .await;
    dump(database).await
}

async fn dump_sqlite(url: &str) -> Vec<String> {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    let selects: Vec<String> = sqlx::query_scalar(
        "select format('select ''%s: '' || %s from %s', m.name,
                       group_concat('''' || c.name || '='' || quote(' || c.name || ')', '||'' ''||'),
                       m.name)
         from sqlite_schema m, pragma_table_info(m.name) c
         where m.type = 'table' and m.name not like 'sqlite_%'
         group by m.name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut rows = Vec::new();
    for select in selects {
        let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(select));
        rows.extend(query.fetch_all(&mut connection).await.unwrap());
    }
    connection.close().await.unwrap();
    rows
}

async fn dump_postgres(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let selects: Vec<String> = sqlx::query_scalar(
        "select format('select %L || row_to_json(t)::text from %I t', tablename || ': ', tablename)
         from pg_tables where schemaname = 'public'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut rows = Vec::new();
    for select in selects {
        let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(select));
        rows.extend(query.fetch_all(&mut connection).await.unwrap());
    }
    connection.close().await.unwrap();
    rows
}
