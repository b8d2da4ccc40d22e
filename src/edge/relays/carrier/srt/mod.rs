//! SRT: the stream id in the handshake is rewritten, datagrams pass as they are.

mod carriage;
mod packet;

pub(super) use carriage::Carriage;
