//! Two engines behind one SQL text.
//!
//! PostgreSQL has one pool. SQLite has one connection that writes, with
//! `begin immediate` (a deferred transaction fails at once when it turns from
//! reading to writing, whatever the busy timeout is), and a small pool beside
//! it that only reads. Transactions that write share their commits ([`writer`]).
//!
//! The pools are our own: sqlx's loses its permits for ever when a connection is
//! dropped while its server is silent, and asks every connection that comes back
//! whether it stands. Here every statement has a time limit ([`mod@line`]), what
//! failed is dropped at once, and only what is in doubt is asked ([`pool`]).

#[macro_use]
mod which;
mod database;
mod grouped;
mod held;
mod keeper;
mod line;
mod options;
mod pool;
mod retrying;
mod server;
mod single;
mod transaction;
mod writer;

pub use database::Database;
pub(super) use database::Pools;
pub(super) use grouped::Batcher;
pub use options::{DatabaseOptions, Target};
pub(super) use pool::Pool;
pub use pool::PoolState;
pub(super) use single::Single;
pub(super) use transaction::Open;
pub use transaction::Transaction;
pub use which::Engine;
