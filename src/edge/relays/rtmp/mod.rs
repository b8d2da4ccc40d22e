//! The client side of RTMP: play sessions from the media server, and publish sessions to
//! destinations.
//!
//! The crates `rml_rtmp` 0.8 and `rtmp-runtime` 0.6 were compared with this code. Both copy each
//! payload into a `Vec` for each destination, where `ChunkWriter` shares it; neither can put
//! `fourCcList` (Enhanced RTMP) into `connect`; `rml_rtmp` limits neither the number of chunk
//! streams nor the memory of incomplete messages, and `rtmp-runtime` cannot play.
//!
//! | file | purpose |
//! |---|---|
//! | `message`, `chunk_reader`, `chunk_writer` | messages, and the chunks that carry them |
//! | `amf0`, `command`, `response` | the commands to a server, and its responses |
//! | `handshake`, `session` | the start of a connection, and its two directions |

pub(super) mod amf0;
mod chunk_reader;
mod chunk_writer;
pub(super) mod command;
pub(super) mod handshake;
pub(super) mod message;
mod response;
mod session;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use chunk_reader::ChunkReader;
#[cfg(test)]
pub(super) use chunk_writer::ChunkWriter;
pub(super) use message::Message;
pub(super) use response::Response;
pub(super) use session::{Incoming, Outgoing, Session, SessionError, StreamTarget};
