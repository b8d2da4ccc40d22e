//! Connections: accepted, limited, and closed in time.
//!
//! A connection takes a permit, waits for its turn among those of its address, and completes
//! its handshake (TLS, then the HTTP/2 preface) within a deadline. It serves calls until its maximum age, its idle timeout, or the end
//! of the server; or until its peer stops reading, floods it with frames, or goes on
//! violating limits.

mod call_hook;
mod call_tracking;
mod connection;
mod connection_limits;
mod connection_metrics;
mod connection_pace;
mod frame_budget;
mod handshake;
mod http;
mod http1_refusal;
mod http1_server;
mod http2_frames;
mod http2_io;
mod lifetime;
mod listen_address;
mod listener;
mod peer;
mod prefixed_stream;
mod socket;
mod tls;
mod tracked_body;
mod unix_socket;

pub use self::http::HttpService;
pub use call_hook::{CallHook, HookedBody, HookedCall, PolledFrame};
pub use call_tracking::ConnectionCallsExceeded;
pub use connection::Connection;
pub use connection_limits::ConnectionLimits;
pub use connection_metrics::ConnectionMetrics;
pub use connection_pace::ConnectionPace;
pub use http1_refusal::{GRPC_WEB_IS_OFF, log_grpc_web_is_off};
pub use http1_server::{serve_http1, set_security_headers, short_response};
pub use lifetime::ConnectionTimeouts;
pub use listen_address::ListenAddress;
pub(crate) use listen_address::parse_socket_path;
pub use listener::{Listener, ListenerSettings};
pub use peer::{Peer, TrustedProxy};
pub use socket::{BoundSocket, check_unix_socket};
pub use tls::TlsFiles;
