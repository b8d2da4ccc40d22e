//! Connections: accepted, limited, and closed in time.
//!
//! A connection takes a permit and completes its handshake (TLS, then the HTTP/2 preface)
//! within a deadline. It serves calls until its maximum age, its idle timeout, or the end
//! of the server.

mod call_hook;
mod coalesced_io;
mod connection;
mod connection_limits;
mod connection_metrics;
mod handshake;
mod http;
mod http1_server;
mod http_service;
mod lifetime;
mod listener;
mod overload;
mod pending_handshakes;
mod socket;
mod tls_config;
mod tls_reloader;
mod web_origin;

pub use call_hook::{CallHook, HookedBody, HookedCall, PolledFrame};
pub use connection::Connection;
pub use connection_limits::ConnectionLimits;
pub use connection_metrics::ConnectionMetrics;
pub use http_service::HttpService;
pub use http1_server::serve_http1;
pub use lifetime::ConnectionTimeouts;
pub use listener::{Listener, ListenerSettings};
pub use overload::Overload;
pub use socket::bind;
pub use tls_config::TlsFiles;
pub use web_origin::WebOrigin;
