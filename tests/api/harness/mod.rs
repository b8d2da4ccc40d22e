//! What the tests use: servers, databases, callers, and checks of answers.

mod caller;
mod cluster;
mod collector;
mod database;
mod expect;
mod held_writes;
mod http;
mod issuer;
mod issuer_key;
mod load;
mod mail;
mod mail_server;
mod postgres;
mod process;
mod processes;
mod proxy;
mod raw_call;
mod reused_database;
mod server;
mod tools;
mod watcher;

pub use caller::{Client, MediaServer, User};
pub use cluster::{Cluster, Sides};
pub use collector::{Collector, attribute};
pub use database::{
    Engine::{self, Postgres, Sqlite},
    TestDatabase,
};
pub use expect::{Refusal, eventually, refused};
pub use held_writes::HeldWrites;
pub use http::{Answer, http};
pub use issuer::{DISCOVERY, Issuer, JWKS};
pub use issuer_key::IssuerKey;
pub use load::Load;
pub use mail::Mail;
pub use mail_server::{Certificate, LOGIN, MailServer, PASSWORD, USER};
pub use postgres::PostgresServer;
pub use process::{Process, Said};
pub use processes::{
    children, command_line, command_lines, descendants, runs, send_signal, try_signal,
};
pub use proxy::Proxy;
pub use raw_call::RawConnection;
pub use reused_database::Lease;
pub use rustix::process::Signal;
pub use server::{TestServer, config, settings};
pub use tools::tool;
pub use watcher::Watcher;
