//! The servers at both ends of a relay: the media server and the destination.
//!
//! | file | purpose |
//! |---|---|
//! | `address` | what an address says: where to connect, and what to name there |
//! | `certificates`, `connect` | TCP and TLS connections |
//! | `srt_probe` | whether an SRT listener answers |
//! | `redaction` | the words of a server without secrets |
//! | `error` | what can go wrong, as a failure of the relay |

mod address;
mod certificates;
mod connect;
mod error;
mod redaction;
mod srt_probe;

pub(super) use address::{Address, Output, RtmpAddress, SrtAddress};
pub(super) use certificates::Certificates;
pub(super) use connect::{
    Socket, Transport, connect_tcp, connect_tcp_when_back, establish, secure, shake_hands,
};
pub(super) use error::{Side, TLS_FAILED, UpstreamError};
pub(super) use redaction::Secrets;
pub(super) use srt_probe::probe_srt;
