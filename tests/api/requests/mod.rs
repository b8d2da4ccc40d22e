//! Limits that apply to every RPC: deadlines, concurrent calls, message size, and what a peer
//! may make the server hold.

mod deadlines;
mod incomplete_requests;
mod malformed_requests;
mod message_size;
mod overload;
mod response_memory;
mod streams_without_caller;
