//! Sluice: the control plane for live multistreaming.
//!
//! These are the layers, from top to bottom. A module imports only modules below it.
//!
//! | module | purpose |
//! |---|---|
//! | [`commands`] | the command line, with one file per sub-command: `serve`, `edge`, `check`, `migrate`, `health`, `admin`, `api` and those of a client |
//! | [`server`] | assembles the services and jobs, serves and drains |
//! | [`edge`] | runs beside a media server: answers its hooks and runs relays, as a gRPC client of the server |
//! | [`client`] | the commands that call a server: they use the generated gRPC client only |
//! | [`config`] | all settings |
//! | [`operations`] | metrics, probes and the log filter over HTTP |
//! | [`services`] | the RPCs: authorize, parse, call a repository, respond |
//! | [`layers`] | the tower layers around all calls |
//! | [`readiness`] | the reported health of the server |
//! | [`jobs`] | periodic tasks |
//! | [`nats`] | change notifications between replicas through NATS |
//! | [`check_dispatch`] | hands checks of destinations to the connected relay workers |
//! | [`claim_dispatch`] | wakes the relay workers that have something to claim or to return |
//! | [`watching`] | watches of projects, and the change notifications that wake them |
//! | [`mail`] | e-mail messages and their transport |
//! | [`webhooks`] | signed messages to endpoints of tenants, and their transport |
//! | [`repositories`] | SQL, with one repository per resource |
//! | [`auth`] | callers, tokens, passwords, and encryption of secrets |
//! | [`database`] | database engines, connections, transactions and migrations; independent of the tables |
//! | [`transport`] | accepts connections, and limits their number and lifetime |
//! | [`error`] | all errors, and their mapping to a gRPC status |
//! | [`telemetry`] | logs, metrics, traces |
//! | [`outbound`] | connections to hosts that tenants name |
//! | [`domain`] | the domain types, parsed once and valid from then on |
//! | [`backoff`] | exponential backoff |
//! | [`fair_queue`] | queues in which holders take turns |
//! | [`random`] | randomness and digests |
//! | [`root_certificates`] | the certificate authorities that the platform trusts |
//! | [`proto`] | the code generated from the contract in `proto/` |
//!
//! A request passes the listener, the layers, the interceptor
//! ([`auth::AuthInterceptor`]), a service method and one repository method.

#[macro_use]
pub mod database;

pub mod auth;
pub mod backoff;
pub mod check_dispatch;
pub mod claim_dispatch;
pub mod client;
pub mod commands;
pub mod config;
pub mod domain;
pub mod edge;
pub mod error;
pub mod fair_queue;
pub mod jobs;
pub mod layers;
pub mod mail;
pub mod nats;
pub mod operations;
pub mod outbound;
pub mod proto;
pub mod random;
pub mod readiness;
pub mod repositories;
pub mod root_certificates;
pub mod server;
pub mod services;
pub mod telemetry;
pub mod transport;
pub mod watching;
pub mod webhooks;
