//! Sluice: the control plane of live multistreaming.
//!
//! A map of this house. Dependencies point down the list, never up.
//!
//! | module | purpose |
//! |---|---|
//! | [`commands`] | `serve`, `edge`, `migrate`, `health`, `admin`: one file a sub-command |
//! | [`server`] | the only place that knows all parts: services, jobs, drain |
//! | [`edge`] | beside a media server: hooks come in, relays go out; a gRPC client of the rest |
//! | [`config`] | every setting, once |
//! | [`operations`] | metrics, probes and the log filter over HTTP |
//! | [`services`] | the RPCs: authorize, parse, call a repository, answer |
//! | [`layers`] | the middleware of every call |
//! | [`jobs`] | periodic work |
//! | [`watching`] | watchers of projects, and the change notifications that wake them |
//! | [`readiness`] | the health that the server reports |
//! | [`mail`] | e-mail messages and their transport |
//! | [`repositories`] | SQL: one repository per noun |
//! | [`auth`] | callers, tokens, passwords, and the protection of secrets |
//! | [`database`] | engines, connections, transactions, migrations: knows no table's meaning |
//! | [`transport`] | connections: accepted, bounded, closed in time |
//! | [`error`] | everything that can go wrong, and its one mapping to a gRPC status |
//! | [`telemetry`] | logs, metrics, traces |
//! | [`domain`] | the nouns, parsed once |
//! | [`backoff`] | delays between tries |
//! | [`random`] | randomness and digests |
//! | [`proto`] | the generated code of the contract in `proto/` |
//!
//! A request passes the listener, the layers, the interceptor
//! ([`auth::Guard`]), a service method, and one repository method.

#[macro_use]
pub mod database;

pub mod auth;
pub mod backoff;
pub mod commands;
pub mod config;
pub mod domain;
pub mod edge;
pub mod error;
pub mod jobs;
pub mod layers;
pub mod mail;
pub mod operations;
pub mod proto;
pub mod random;
pub mod readiness;
pub mod repositories;
pub mod server;
pub mod services;
pub mod telemetry;
pub mod transport;
pub mod watching;
