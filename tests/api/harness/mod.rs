//! Test fixtures: servers, databases, clients, and checks of responses.

mod await_delays;
mod background_calls;
mod blocked_writes;
mod caller;
mod cluster;
mod collector;
mod database;
mod database_reuse;
mod expect;
mod full_disk;
mod http;
mod issuer;
mod issuer_key;
mod mail;
mod mail_server;
mod nats_server;
mod pgbouncer;
mod postgres;
mod process;
mod processes;
mod projects_watcher;
mod proxy;
mod raw_call;
mod rebinding;
mod round_trips;
mod server;
mod skewed_clock;
mod time_limit;
mod tools;
mod unprivileged;
mod volatile_disk;
mod watcher;

pub use await_delays::AwaitDelays;
pub use background_calls::BackgroundCalls;
pub use blocked_writes::BlockedWrites;
pub use caller::{Client, MediaServer, User, exchange};
pub use cluster::{Cluster, Replicas};
pub use collector::{Collector, attribute};
pub use database::{
    Engine::{self, Pooled, Postgres, Sqlite},
    Pooling, TestDatabase,
};
pub use database_reuse::DatabaseReuse;
pub use expect::{Refusal, eventually, eventually_within, refused, until_available};
pub use full_disk::FullDisk;
pub use http::{HttpResponse, http};
pub use issuer::{DISCOVERY, Issuer, JWKS};
pub use issuer_key::IssuerKey;
pub use mail::Mail;
pub use mail_server::{Certificate, LOGIN, MailServer, PASSWORD, USER};
pub use nats_server::NatsServer;
pub use pgbouncer::{PgBouncer, PoolMode};
pub use postgres::PostgresServer;
pub use process::{CommandOutput, Process};
pub use processes::{
    children, command_line, command_lines, descendants, is_running, send_signal, try_signal,
};
pub use projects_watcher::ProjectsWatcher;
pub use proxy::Proxy;
pub use raw_call::{OpenCall, RawConnection, connect_from, message_frame, read_status};
pub use rebinding::RebindingName;
pub use rustix::process::Signal;
pub use server::{TestServer, config, settings};
pub use skewed_clock::SkewedClock;
pub use time_limit::TimeLimit;
pub use tools::tool;
pub use unprivileged::unprivileged_folder;
pub use volatile_disk::VolatileDisk;
pub use watcher::Watcher;
