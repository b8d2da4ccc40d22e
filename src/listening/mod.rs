//! Connections: accepted, bounded, and ended in time.
//!
//! A connection takes a place, shows within a deadline what it speaks (TLS, then the
//! preface of HTTP/2), and serves calls until it is too old, idle for too long, or the
//! server closes.

mod accepting;
mod acceptor;
mod calls;
mod connection;
mod executor;
mod file_limit;
mod gathering;
mod half_open;
mod handshake;
mod http;
mod lifetime;
mod places;
mod pressure;
mod rewound;
mod socket;
mod sparing;
mod tally;
mod tls;
mod tls_files;
mod tracked;
mod web_origin;

pub use acceptor::{Acceptor, Terms};
pub use calls::Calls;
pub use connection::Connection;
pub use lifetime::Times;
pub use places::Caps;
pub use pressure::Pressure;
pub use socket::bind;
pub use tally::Tally;
pub use tls_files::TlsFiles;
pub use web_origin::WebOrigin;
