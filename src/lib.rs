//! Sluice: the control plane of live multistreaming.
//!
//! A map of this house. Dependencies point down the list, never up.
//!
//! | room | what it is for |
//! |---|---|
//! | [`commands`] | `serve`, `edge`, `migrate`, `health`, `admin`: one file a sub-command |
//! | [`server`] | the only place that knows all parts: repositories, services, layers, drain |
//! | [`edge`] | beside a media server: hooks come in, relays go out; a client of the rest |
//! | [`config`] | every setting, once |
//! | [`operations`] | what the server says of itself over HTTP: metrics, probes, what is logged |
//! | [`readiness`] | what the server says of its health |
//! | [`layers`] | what happens to every call |
//! | [`jobs`] | periodic work |
//! | [`mail`] | how messages look, and how they leave |
//! | [`services`] | the RPCs: who, what, do, answer |
//! | [`watching`] | who watches what, and what wakes them |
//! | [`listening`] | connections: accepted, bounded, ended in time |
//! | [`auth`], [`repositories`] | who calls, and what protects secrets; SQL, on either engine |
//! | [`error`] | what can go wrong, and its only mapping to a gRPC status |
//! | [`domain`] | the nouns, parsed once |
//! | [`telemetry`] | logs, metrics, traces |
//! | [`proto`] | the generated code of the contract in `proto/` |
//!
//! A request passes the listener, the layers, the interceptor
//! ([`auth::Guard`]), a service method, and one repository method.

pub mod auth;
pub mod commands;
pub mod config;
pub mod domain;
pub mod edge;
pub mod error;
pub mod jobs;
pub mod layers;
pub mod listening;
pub mod mail;
pub mod operations;
pub mod proto;
pub mod readiness;
pub mod repositories;
pub mod server;
pub mod services;
mod setting;
pub mod telemetry;
pub mod watching;
