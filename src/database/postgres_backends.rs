//! Server processes of PostgreSQL. They go on when their client has gone away.

use sqlx::Row;
use sqlx_postgres::{PgConnection, PgRow};

/// A server process. A process id is used again; with its start it is unique.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    pid: i32,
    /// Microseconds since 1970.
    start: i64,
}

/// The start of a backend, as a column.
macro_rules! start {
    ($prefix:literal) => {
        concat!(
            "(extract(epoch from ",
            $prefix,
            "backend_start) * 1000000)::bigint"
        )
    };
}

/// The columns of the own backend. It also learns to end a statement when its client is gone,
/// from PostgreSQL 14 on and on systems that support it.
pub(super) const OWN_BACKEND: &str = concat!(
    "pid, ",
    start!(""),
    ",
     case
         when version() like '%linux%'
              and current_setting('client_connection_check_interval', true) is not null
         then set_config('client_connection_check_interval', '1s', false)
     end
     from pg_stat_get_activity(pg_backend_pid())"
);

/// Whether backends still exist and have not finished their last statement. One that commits may
/// wait for a synchronous standby for any time, without a look at its client.
const SELECT_BUSY: &str = concat!(
    "select a.pid is not null
     from unnest($1::int4[], $2::bigint[]) with ordinality as asked (pid, start, place)
     left join pg_stat_activity a
       on a.pid = asked.pid and a.state is distinct from 'idle'
          and ",
    start!("a."),
    " = asked.start
     order by asked.place"
);

impl Backend {
    /// The backend of a row that begins with another column, then has [`OWN_BACKEND`].
    pub(super) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            pid: row.try_get(1)?,
            start: row.try_get(2)?,
        })
    }
}

/// Whether each of these backends still works.
pub(super) async fn are_busy(
    connection: &mut PgConnection,
    backends: &[&Backend],
) -> Result<Vec<bool>, sqlx::Error> {
    let pids: Vec<_> = backends.iter().map(|backend| backend.pid).collect();
    let starts: Vec<_> = backends.iter().map(|backend| backend.start).collect();
    sqlx::query_scalar(SELECT_BUSY)
        .bind(pids)
        .bind(starts)
        .fetch_all(connection)
        .await
}
