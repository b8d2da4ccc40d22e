use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::watch,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ffmpeg::{Ffmpeg, Spawner},
    flv::{TagReader, write_packets},
    srt_output::{UNREADABLE_CODEC, codec_unreadable},
};
use crate::{
    backoff::Backoff,
    edge::relays::{
        media::{FanOut, Input, Packet, next_epoch},
        relay_failure::RelayFailure,
        rtmp::Message,
    },
};

const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

const READ_BYTES: usize = 64 * 1024;

/// The keyframe interval of renditions, in seconds: what platforms ask for.
const KEYFRAME_SECONDS: u32 = 2;

/// The limits of a rendition. Without limits, media is not encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// The most bits of video in a second, in thousands; 0 means no limit.
    pub(crate) video_bitrate_kbps: u32,
    /// The greatest height of the picture in pixels; 0 means no limit.
    pub(crate) height: u32,
}

/// What encodes renditions.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) program: PathBuf,
    pub(crate) spawner: Spawner,
}

impl Limits {
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The options of ffmpeg for the video.
    fn arguments(self) -> Vec<String> {
        let mut arguments: Vec<String> = ["-c:v", "libx264", "-preset", "veryfast"]
            .iter()
            .chain(&["-pix_fmt", "yuv420p", "-sc_threshold", "0"])
            .map(ToString::to_string)
            .collect();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        let keyframes = format!("expr:gte(t,n_forced*{KEYFRAME_SECONDS})");
        add("-force_key_frames", keyframes);
        if self.height > 0 {
            // The width keeps the aspect ratio, and is even, as the encoder requires.
            let height = self.height & !1;
            add("-vf", format!("scale=-2:'trunc(min(ih,{height})/2)*2'"));
        }
        if self.video_bitrate_kbps > 0 {
            let rate = self.video_bitrate_kbps;
            add("-maxrate", format!("{rate}k"));
            add("-bufsize", format!("{rate}k"));
        }
        arguments
    }
}

/// The input with other video: encoded by one ffmpeg for this relay, which ends with it. Audio
/// is copied.
pub(crate) fn rendition(source: Arc<Input>, limits: Limits, encoder: Encoder) -> Input {
    let fan_out = Arc::<FanOut>::default();
    let (failed, failure) = watch::channel(None);
    let encoding = encode_repeatedly(
        Arc::clone(&source),
        limits,
        encoder,
        Arc::clone(&fan_out),
        failed,
    );
    let task = AbortOnDropHandle::new(tokio::spawn(encoding));
    Input::derived(source, fan_out, failure, task)
}

async fn encode_repeatedly(
    source: Arc<Input>,
    limits: Limits,
    encoder: Encoder,
    fan_out: Arc<FanOut>,
    failed: watch::Sender<Option<RelayFailure>>,
) {
    let mut failures = 0;
    loop {
        let mut encoding = Encoding {
            fan_out: &fan_out,
            failed: &failed,
            epoch: next_epoch(),
            has_media: false,
        };
        let failure = encoding.run(&source, limits, &encoder).await;
        failures = if encoding.has_media { 1 } else { failures + 1 };
        tracing::debug!(
            code = failure.code,
            reason = failure.message,
            "the encoder has ended"
        );
        failed.send_replace(Some(failure));
        sleep(RETRY_BACKOFF.delay(failures)).await;
    }
}

/// One run of the encoder.
struct Encoding<'a> {
    fan_out: &'a FanOut,
    failed: &'a watch::Sender<Option<RelayFailure>>,
    epoch: u64,
    has_media: bool,
}

impl Encoding<'_> {
    /// Encodes until the process ends; returns why.
    async fn run(&mut self, source: &Input, limits: Limits, encoder: &Encoder) -> RelayFailure {
        let Encoder { program, spawner } = encoder;
        let started = Ffmpeg::encode(spawner, program, &limits.arguments()).await;
        let (mut ffmpeg, mut media) = match started {
            Ok(started) => started,
            Err(error) => return RelayFailure::cannot_start(&error),
        };
        let stdin = ffmpeg.take_stdin();
        let queue = source.subscribe(Duration::ZERO);
        let feeding = async {
            if let Some(mut stdin) = stdin {
                // An error means that the process ends.
                let _ = write_packets(&mut stdin, &queue).await;
            }
            std::future::pending::<()>().await;
        };
        let unreadable = ffmpeg.logs(UNREADABLE_CODEC);
        tokio::select! {
            () = unreadable => return codec_unreadable(),
            () = feeding => {}
            () = self.receive(&mut media) => {}
        }
        let exit = ffmpeg.exited().await;
        let lines = ffmpeg.stderr_lines().await;
        RelayFailure::of_exit(exit, &lines)
    }

    /// Passes the media on, until the process closes its output or writes no FLV.
    async fn receive(&mut self, media: &mut (impl AsyncRead + Unpin)) {
        let mut reader = TagReader::default();
        loop {
            match reader.next() {
                Ok(Some(message)) => {
                    self.publish(&message);
                    continue;
                }
                Ok(None) => {}
                Err(_) => return,
            }
            reader.input().reserve(READ_BYTES);
            match media.read_buf(reader.input()).await {
                Ok(1..) => {}
                _ => return,
            }
        }
    }

    fn publish(&mut self, message: &Message) {
        let Some(packet) = Packet::of(message, self.epoch) else {
            return;
        };
        if !self.has_media && !packet.is_description() {
            self.has_media = true;
            self.failed.send_replace(None);
        }
        self.fan_out.publish(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requested_limits_are_options_of_the_encoder() {
        for (video_bitrate_kbps, height, has_rate, has_height) in [
            (2_500, 0, true, false),
            (0, 720, false, true),
            (2_500, 721, true, true),
        ] {
            let limits = Limits {
                video_bitrate_kbps,
                height,
            };
            let arguments = limits.arguments().join(" ");
            assert_eq!(
                arguments.contains("-maxrate 2500k"),
                has_rate,
                "{arguments}"
            );
            assert_eq!(arguments.contains("min(ih,720)"), has_height, "{arguments}");
        }
        assert!(Limits::default().is_none());
    }
}
