//! The database: two engines behind one SQL text. It knows no table's meaning.
//!
//! PostgreSQL has one pool. SQLite has one connection that writes, with
//! `begin immediate` (a deferred transaction fails at once when it upgrades from
//! reading to writing, whatever the busy timeout is), and a small pool of read-only
//! connections. Write transactions share their commits ([`writer`]).
//!
//! The pool is our own. sqlx's pool loses a permit for ever when a connection is
//! dropped while its server is silent, and it pings every connection that is returned.
//! Here every statement has a time limit ([`connection`]), a failed connection is
//! dropped at once, and only a connection in doubt is pinged ([`pool`]).

#[macro_use]
mod engine;
mod autocommit;
mod batcher;
mod change_hints;
mod columns;
mod connection;
mod copy;
mod dialect;
mod errors;
mod group_commit;
mod handle;
mod migrations;
mod notify;
mod options;
mod pool;
mod retry;
mod transaction;
mod writer;

pub(crate) use autocommit::Single;
pub(crate) use batcher::Batcher;
pub(crate) use change_hints::Hints;
pub(crate) use columns::{Timestamp, known};
pub use copy::{CopiedTable, CopyFailure, copy};
pub use engine::Engine;
pub(crate) use errors::is_taken;
pub use handle::Database;
pub(crate) use handle::Pools;
pub use notify::{Heard, Listening, Notices};
pub use options::{DatabaseOptions, Target};
pub(crate) use pool::Pool;
pub use pool::PoolState;
pub use transaction::Transaction;
