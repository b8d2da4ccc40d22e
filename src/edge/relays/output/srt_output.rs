use std::{io, path::Path, time::Duration};

use tokio::process::ChildStdin;
use tokio_util::sync::CancellationToken;

use super::{
    delivery::Delivery,
    ffmpeg::{Ffmpeg, Spawner},
    flv::write_packets,
    preset_file::{PresetFile, PresetFolder},
};
use crate::{
    domain::{Secret, UrlPolicy},
    edge::relays::{
        media::{Input, OutputQueue},
        relay_failure::RelayFailure,
        upstream::{Side, SrtAddress},
    },
    proto::v1::RelayErrorSeverity::Fatal,
};

/// The time within which the listener has to accept, in milliseconds.
const CONNECT_TIMEOUT_MS: u32 = 10_000;

/// What ffmpeg logs for a codec that its FLV reader does not know; it continues without.
pub(super) const UNREADABLE_CODEC: &str = "is not implemented";

/// How SRT encrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encryption {
    /// Empty means no encryption.
    pub(crate) passphrase: Secret,
    /// The length of the key in bytes; 0 leaves it to libsrt.
    pub(crate) key_length: i32,
}

/// A destination over SRT, to which ffmpeg sends.
pub(crate) struct SrtOutput<'a> {
    pub(crate) address: &'a SrtAddress,
    pub(crate) encryption: &'a Encryption,
    pub(crate) policy: &'a UrlPolicy,
    pub(crate) program: &'a Path,
    pub(crate) spawner: &'a Spawner,
    pub(crate) presets: &'a PresetFolder,
    pub(crate) input: &'a Input,
    /// How much later the media is sent.
    pub(crate) delay: Duration,
    pub(crate) delivery: &'a Delivery,
}

impl SrtOutput<'_> {
    /// Sends until `stop` or a failure. The end takes less than a second.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<(), RelayFailure> {
        let started = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            started = self.start() => started,
        };
        let (mut ffmpeg, _preset) = started?;
        let stdin = ffmpeg.take_stdin();
        let unreadable = ffmpeg.logs(UNREADABLE_CODEC);
        let queue = self.delivery.subscribe(self.input, self.delay);
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            exit = ffmpeg.exited() => Some(exit),
            () = unreadable => return Err(codec_unreadable()),
            never = feed(stdin, &queue) => match never {},
        };
        match ended {
            None => {
                ffmpeg.terminate().await;
                Ok(())
            }
            Some(exit) => {
                let lines = ffmpeg.stderr_lines().await;
                Err(RelayFailure::of_exit(exit, &lines))
            }
        }
    }

    async fn start(&self) -> Result<(Ffmpeg, PresetFile), RelayFailure> {
        let addresses = self.address.site.addresses(Some(self.policy)).await;
        let addresses = addresses.map_err(|error| error.failure(Side::Output))?;
        let cannot_start = |error: io::Error| RelayFailure::cannot_start(&error);
        let preset = self.preset().map_err(cannot_start)?;
        // Addresses are never empty.
        let target = addresses.all().first().map(ToString::to_string);
        let mut url = format!(
            "srt://{}?mode=caller&connect_timeout={CONNECT_TIMEOUT_MS}",
            target.unwrap_or_default()
        );
        if !self.address.options.is_empty() {
            url = format!("{url}&{}", self.address.options);
        }
        let started = Ffmpeg::start(self.spawner, self.program, preset.path(), &url).await;
        let ffmpeg = started.map_err(cannot_start)?;
        self.delivery.process_started(ffmpeg.bytes_written());
        Ok((ffmpeg, preset))
    }

    fn preset(&self) -> io::Result<PresetFile> {
        let Encryption {
            passphrase,
            key_length,
        } = self.encryption;
        let key_length = Secret::new(key_length.to_string());
        let mut options = Vec::new();
        if !self.address.stream_id.expose().is_empty() {
            options.push(("streamid", &self.address.stream_id));
        }
        if !passphrase.expose().is_empty() {
            options.push(("passphrase", passphrase));
            if self.encryption.key_length > 0 {
                options.push(("pbkeylen", &key_length));
            }
        }
        self.presets.write(&options)
    }
}

/// ffmpeg reads Enhanced RTMP from version 6.1 on.
pub(super) fn codec_unreadable() -> RelayFailure {
    let message = "ffmpeg of the edge (SLUICE_FFMPEG) cannot read a codec of the stream; \
        Enhanced RTMP needs version 6.1 or later";
    RelayFailure::new("CODEC_UNSUPPORTED", Fatal, message)
}

/// Writes packets as FLV. It never ends: the exit of the process says why its input broke.
async fn feed(stdin: Option<ChildStdin>, queue: &OutputQueue) -> std::convert::Infallible {
    if let Some(mut stdin) = stdin {
        // An error means that the process ends.
        let _ = write_packets(&mut stdin, queue).await;
    }
    std::future::pending().await
}
