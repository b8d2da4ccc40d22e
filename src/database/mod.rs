//! The database: two engines behind one SQL text. It knows no table's meaning.
//!
//! PostgreSQL has one pool. SQLite has one connection that writes and a small pool of
//! read-only connections. Write transactions of SQLite share their commits (`sqlite_writer`).
//! They start with `begin immediate`, because a deferred transaction fails at once when it
//! upgrades from reading to writing, whatever the busy timeout is.
//!
//! The pool is our own. sqlx's pool permanently loses a permit when a connection to an
//! unresponsive server is dropped, and it pings every connection that is returned. Here every
//! statement has a timeout (`connection`), a failed connection is dropped at once, only a
//! connection that may have failed is pinged (`pool`), and a connection counts until the server
//! has let go of it too (`abandoned_sessions`).

#[macro_use]
mod columns;
#[macro_use]
mod engine;
#[macro_use]
mod batches;
mod abandoned_sessions;
mod autocommit;
mod change_notifications;
mod clock_skew;
mod connect_error;
mod connection;
mod copy;
mod dialect;
mod errors;
mod group_commit;
mod handle;
mod idle_list;
mod local_state;
mod migrations;
mod options;
mod pool;
mod pool_permits;
mod postgres_backends;
mod postgres_connector;
mod postgres_notify;
mod read_batcher;
mod requester;
mod schema;
mod script;
mod server_lock;
mod sqlite_file;
mod sqlite_writer;
mod target_url;
mod transaction;
mod unusable;
mod write_lease;

pub(crate) use autocommit::Autocommit;
pub use batches::{Batch, DeletedBatch};
pub(crate) use change_notifications::ChangeNotifications;
pub use clock_skew::ClockSkew;
pub(crate) use connect_error::ConnectError;
pub use copy::{CopiedTable, CopyError, copy};
pub use engine::Engine;
pub(crate) use errors::on_unique_violation;
pub use handle::Database;
pub(crate) use handle::Pools;
pub use options::{DatabaseOptions, Pooler, PostgresServers, SettingNames, Target, TargetSession};
pub(crate) use pool::Pool;
pub use pool::PoolState;
pub use postgres_notify::{NotifyChannel, NotifyListener, ReplicaChange};
pub(crate) use read_batcher::Batcher;
pub use requester::Requester;
pub use schema::SchemaState;
pub use script::Check;
pub use server_lock::{ServerLock, ServerLockError};
pub(crate) use transaction::QueueStatements;
pub use transaction::{QueuedTransaction, Transaction};
pub use unusable::UnusableDatabase;
