//! Connections: accepted, bounded, and ended in time.
//!
//! A connection takes a place, shows within a deadline what it speaks (TLS, then the
//! preface of HTTP/2), and serves calls until it is too old, idle for too long, or the
//! server closes.

mod call_tracking;
mod coalesced_io;
mod connection;
mod connection_limits;
mod connection_metrics;
mod executor;
mod handshake;
mod http;
mod http_service;
mod lifetime;
mod listener;
mod overload;
mod pending_handshakes;
mod rlimit;
mod socket;
mod tls;
mod tls_files;
mod web_origin;

pub use connection::Connection;
pub use connection_limits::Caps;
pub use connection_metrics::Tally;
pub use http_service::Calls;
pub use lifetime::Times;
pub use listener::{Acceptor, Terms};
pub use overload::Pressure;
pub use socket::bind;
pub use tls_files::TlsFiles;
pub use web_origin::WebOrigin;
