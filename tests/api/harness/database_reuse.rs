//! Reuse of PostgreSQL databases by successive tests.
//!
//! `create database` copies three hundred files, and the first connection to a new database
//! builds caches: together they take longer than many tests. So a test that passes returns
//! its database, and the next test deletes the rows.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The returned databases and the time of their return, oldest first.
static FREE_DATABASES: Mutex<VecDeque<(String, Instant)>> = Mutex::new(VecDeque::new());

/// Time before a returned database is reused: a server may outlive its test by a moment.
const REUSE_DELAY: Duration = Duration::from_secs(1);

/// Terminates all other sessions of the database, and deletes all rows. Newer tables come
/// first, because foreign keys refer to older tables.
pub const RESET_SQL: &str = "
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and usename = current_user and pid <> pg_backend_pid();
    do $$
    declare
        filled regclass;
    begin
        for filled in
            select oid from pg_class
            where relkind = 'r' and relnamespace = 'public'::regnamespace
              and relname <> '_sqlx_migrations' and pg_relation_size(oid) > 0
            order by oid desc
        loop
            execute format('delete from %s', filled);
        end loop;
    end
    $$";

/// Returns the database of a test for reuse when dropped.
pub struct DatabaseReuse {
    name: Option<String>,
    schema_changed: AtomicBool,
}

impl DatabaseReuse {
    /// For a database that no other test may use.
    pub fn disabled() -> Self {
        Self {
            name: None,
            schema_changed: AtomicBool::new(false),
        }
    }

    /// For a migrated PostgreSQL database.
    pub fn enabled(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            schema_changed: AtomicBool::new(false),
        }
    }

    /// Takes the name of a database that was returned at least `REUSE_DELAY` ago.
    pub fn take_free() -> Option<String> {
        let mut free = FREE_DATABASES.lock().unwrap();
        let (name, _) = free.pop_front_if(|(_, since)| since.elapsed() > REUSE_DELAY)?;
        Some(name)
    }

    /// Records a statement of the test: a database whose schema may have changed is not reused.
    pub fn record(&self, statement: &str) {
        let mut words = statement.split_whitespace().map(str::to_lowercase);
        let first = words.next().unwrap_or_default();
        let on_rows = ["delete", "insert", "select", "update", "with"];
        let on_schema = ["alter", "create", "drop", "truncate"];
        let on_migrations = statement.contains("_sqlx_migrations");
        if on_migrations
            || !on_rows.contains(&&*first)
            || words.any(|word| on_schema.contains(&&*word))
        {
            self.schema_changed.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for DatabaseReuse {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else {
            return;
        };
        if !self.schema_changed.load(Ordering::Relaxed) && !std::thread::panicking() {
            let mut free = FREE_DATABASES.lock().unwrap();
            free.push_back((name, Instant::now()));
        }
    }
}
