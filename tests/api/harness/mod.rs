//! What the tests stand on: servers, databases, callers, and what they expect.

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
mod proxy;
mod raw_call;
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
pub use proxy::Proxy;
pub use raw_call::RawConnection;
pub use server::{TestServer, config, settings};
pub use tools::tool;
pub use watcher::Watcher;
