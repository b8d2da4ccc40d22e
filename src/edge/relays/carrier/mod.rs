//! What carries the media between ffmpeg and the far side, and puts keys in place on the way.
//!
//! ffmpeg is given an address on this machine with a random name, good for one connection. So no key stands
//! where other users of the machine can list it, the address that was checked is the
//! one that is connected to, and what the far side answers is known and not guessed
//! from a log.
//!
//! | part | what it is for |
//! |---|---|
//! | `address` | what an address says: where to connect, and what to name there |
//! | `host` | names to addresses that may be connected to |
//! | `rtmp` | RTMP over TCP or TLS: commands are rewritten, media passes |
//! | `srt` | SRT over UDP: handshakes are rewritten, media passes |
//! | `trouble` | what can go wrong, as a fault of the relay |
//! | `words` | what the far side says, without what nobody may read |

mod address;
mod carrying;
mod host;
mod random;
mod rtmp;
mod srt;
mod trouble;
mod words;

pub(super) use address::Output;
pub(super) use carrying::Carrier;

#[cfg(test)]
mod tests;
