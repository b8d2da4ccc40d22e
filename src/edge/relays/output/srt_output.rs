use std::{io, path::Path};

use tokio::{io::AsyncWriteExt, process::ChildStdin};
use tokio_util::sync::CancellationToken;

use super::{
    continuation::{Continuation, Continued},
    delivery::Delivery,
    ffmpeg::{Ffmpeg, Spawner},
    flv::{self, write_tag},
    playout::Playout,
    preset_file::{PresetFile, PresetFolder},
    sequence::TimedPacket,
};
use crate::{
    domain::{Secret, UrlPolicy},
    edge::relays::{
        media::Subscription,
        relay_failure::RelayFailure,
        upstream::{Side, SrtAddress, UpstreamError},
    },
    outbound::Addresses,
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
    /// The number of failed attempts before.
    pub(crate) attempt: usize,
    pub(crate) encryption: &'a Encryption,
    pub(crate) policy: &'a UrlPolicy,
    pub(crate) program: &'a Path,
    pub(crate) spawner: &'a Spawner,
    pub(crate) presets: &'a PresetFolder,
    pub(crate) subscription: &'a Subscription,
    pub(crate) delivery: &'a Delivery,
}

/// Why ffmpeg has to end without a failure.
enum End {
    Stopped,
    /// Another publisher sends what MPEG-TS cannot continue with.
    MediaChanged,
}

impl SrtOutput<'_> {
    /// Sends until `stop` or a failure. The end takes less than a second.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<(), RelayFailure> {
        let mut playout = None;
        loop {
            let started = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                started = self.start() => started,
            };
            let (ffmpeg, _preset) = started?;
            let playout =
                playout.get_or_insert_with(|| Playout::new(self.subscription, self.delivery));
            match self.send(ffmpeg, playout, stop).await? {
                End::Stopped => return Ok(()),
                End::MediaChanged => {}
            }
        }
    }

    /// Sends with one process.
    async fn send(
        &self,
        mut ffmpeg: Ffmpeg,
        playout: &mut Playout<'_>,
        stop: &CancellationToken,
    ) -> Result<End, RelayFailure> {
        let stdin = ffmpeg.take_stdin();
        let unreadable = ffmpeg.logs(UNREADABLE_CODEC);
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(End::Stopped),
            exit = ffmpeg.exited() => Err(exit),
            () = unreadable => return Err(codec_unreadable()),
            end = feed(stdin, playout) => Ok(end),
        };
        match ended {
            Ok(end) => {
                ffmpeg.terminate().await;
                Ok(end)
            }
            Err(exit) => {
                let lines = ffmpeg.stderr_lines().await;
                Err(RelayFailure::of_exit(exit, &lines))
            }
        }
    }

    async fn start(&self) -> Result<(Ffmpeg, PresetFile), RelayFailure> {
        let addresses = Addresses::find(&self.address.site, Some(self.policy)).await;
        let addresses =
            addresses.map_err(|error| UpstreamError::from(error).failure(Side::Output))?;
        let cannot_start = |error: io::Error| RelayFailure::cannot_start(&error);
        let preset = self.preset().map_err(cannot_start)?;
        // Another one in each attempt, since ffmpeg tries one only. There is at least one.
        let turn = self.attempt.checked_rem(addresses.all().len());
        let target = turn.and_then(|turn| addresses.all().get(turn));
        let target = target.map(ToString::to_string);
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

/// Writes packets as FLV, until the media needs another process.
async fn feed(stdin: Option<ChildStdin>, playout: &mut Playout<'_>) -> End {
    if let Some(mut stdin) = stdin
        && write_packets(&mut stdin, playout).await.is_ok()
    {
        return End::MediaChanged;
    }
    // The process ends: its exit says why its input broke.
    std::future::pending().await
}

/// Writes packets until one cannot follow those before. It is sent again by the next process.
async fn write_packets(stdin: &mut ChildStdin, playout: &mut Playout<'_>) -> io::Result<()> {
    let mut continuation = Continuation::default();
    stdin.write_all(flv::HEADER).await?;
    loop {
        let packets: Vec<TimedPacket> = playout.next().await;
        for (at, next) in packets.iter().enumerate() {
            match continuation.with(next) {
                Continued::As(payload) => {
                    let (timestamp, packet) = next;
                    write_tag(stdin, packet.kind(), *timestamp, &payload).await?;
                }
                Continued::WithKeyframes => {}
                Continued::Never => {
                    playout.repeat(packets[at..].iter().cloned());
                    return Ok(());
                }
            }
        }
    }
}
