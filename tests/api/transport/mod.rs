//! Connections: limits, timeouts, TLS, HTTP/2 and gRPC-Web.

mod call_limits;
mod connection_limits;
mod connection_timeouts;
mod denial_of_service;
mod draining;
mod grpc_web;
pub mod http2_connection;
pub mod http2_frames;
mod latency_probe;
mod platform_certificates;
mod protocol_errors;
mod refused_calls;
mod rlimit;
mod tls;
mod tls_client;

mod unix_socket_clients;
mod unix_sockets;
mod unread_responses;
