//! What carries the media between ffmpeg and the far side, and puts keys in place on the way.
//!
//! ffmpeg is given an address on this machine with a random name, good for one connection. So no key stands
//! where other users of the machine can list it, the address that was checked is the
//! one that is connected to, and what the far side answers is known and not guessed
//! from a log.

use super::fault::Fault;
use crate::domain::{Secret, UrlPolicy};

/// Stands in for what carries media.
#[derive(Debug)]
pub(super) struct Carrier {}

impl Carrier {
    /// ffmpeg reads from `local_url()` what is carried from `url`.
    pub(super) async fn reading(_url: &Secret) -> Result<Self, Fault> {
        Ok(Self {})
    }

    /// ffmpeg writes to `local_url()` what is carried to `url`.
    pub(super) async fn sending(_url: &Secret, _policy: &UrlPolicy) -> Result<Self, Fault> {
        Ok(Self {})
    }

    /// The address for ffmpeg.
    pub(super) fn local_url(&self) -> &str {
        "rtmp://127.0.0.1:1/relay/none"
    }

    /// ffmpeg's output format for it.
    pub(super) fn format(&self) -> &'static str {
        "flv"
    }

    /// Bytes of media that the far side's socket has taken.
    pub(super) fn bytes(&self) -> u64 {
        0
    }

    /// Resolves when the far side refused or was lost: why.
    pub(super) async fn failed(&self) -> Fault {
        std::future::pending().await
    }
}
