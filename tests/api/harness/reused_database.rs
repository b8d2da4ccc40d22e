//! Databases of PostgreSQL that one test after another uses.
//!
//! `create database` copies three hundred files, and the first connection to a new database
//! builds caches: together they cost more than many a test. So a test that has passed gives
//! its database back, and the next test deletes the rows.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The databases that were given back, oldest first.
static FREE: Mutex<VecDeque<(String, Instant)>> = Mutex::new(VecDeque::new());

/// How long a database rests. A test gives it back a moment before its server ends.
const REST: Duration = Duration::from_secs(1);

/// Ends all other sessions of the database, and deletes all rows: tables with foreign keys
/// are newer than the tables that these refer to.
pub const CLEAN: &str = "
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

/// The right of a test to a database of PostgreSQL. Dropping it gives the database back.
pub struct Lease {
    name: Option<String>,
    changed: AtomicBool,
}

impl Lease {
    /// No right to any database that another test may use later.
    pub fn none() -> Self {
        Self {
            name: None,
            changed: AtomicBool::new(false),
        }
    }

    /// The right to a database with the schema in place.
    pub fn of(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            changed: AtomicBool::new(false),
        }
    }

    /// The name of a database that was given back and has rested, if there is one.
    pub fn take() -> Option<String> {
        let mut free = FREE.lock().unwrap();
        let (name, _) = free.pop_front_if(|(_, since)| since.elapsed() > REST)?;
        Some(name)
    }

    /// Notes what a test runs: no other test gets a database whose schema may have changed.
    pub fn note(&self, statement: &str) {
        let mut words = statement.split_whitespace().map(str::to_lowercase);
        let first = words.next().unwrap_or_default();
        let on_rows = ["delete", "insert", "select", "update", "with"];
        let on_schema = ["alter", "create", "drop", "truncate"];
        if !on_rows.contains(&&*first) || words.any(|word| on_schema.contains(&&*word)) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else {
            return;
        };
        if !self.changed.load(Ordering::Relaxed) && !std::thread::panicking() {
            FREE.lock().unwrap().push_back((name, Instant::now()));
        }
    }
}
