//! Limits that apply to every RPC: deadlines, concurrent calls and message size.

mod deadlines;
mod message_size;
mod overload;
