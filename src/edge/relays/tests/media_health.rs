//! What is measured of the media of ffmpeg through nginx-rtmp, with the faults of publishers.

use tokio::process::Child;

use super::{
    hooks::Hooks,
    rig::{KEY, Nginx, Running, Worker, eventually, publish_with},
};
use crate::proto::v1::StreamStats;

/// A relay of a publisher with these options.
struct Relayed {
    worker: Worker,
    _hooks: Hooks,
    _nginx: Nginx,
    _publisher: Child,
    _relay: Running,
}

impl Relayed {
    async fn start(options: &[&str]) -> Self {
        let hooks = Hooks::start(200).await;
        let nginx = Nginx::start(&hooks.url()).await;
        let publisher = publish_with(&nginx.source(), options);
        let worker = Worker::new();
        let server_url = format!("rtmp://127.0.0.1:{}/live", nginx.port);
        let relay = worker.relay_with_key(&nginx.source(), &server_url, KEY);
        Self {
            worker,
            _hooks: hooks,
            _nginx: nginx,
            _publisher: publisher,
            _relay: relay,
        }
    }

    /// Waits for measurements.
    async fn measures(&self, what: &str, is_so: impl Fn(&StreamStats) -> bool) -> StreamStats {
        eventually(what, async || is_so(&self.worker.measured())).await;
        self.worker.measured()
    }
}

fn keyframe_interval_ms(stats: &StreamStats) -> i64 {
    let interval = stats.keyframe_interval.unwrap_or_default();
    interval.seconds * 1000 + i64::from(interval.nanos) / 1_000_000
}

#[tokio::test]
async fn the_format_and_the_rates_of_real_media_are_measured() {
    let relayed = Relayed::start(&["-g", "25", "-b:v", "400k"]).await;
    let stats = relayed
        .measures("the rates are known", |stats| {
            stats.fps > 20.0 && stats.has_audio == Some(true) && stats.keyframe_interval.is_some()
        })
        .await;
    assert_eq!((stats.width, stats.height), (320, 240), "{stats:?}");
    assert_eq!((&*stats.video_codec, &*stats.audio_codec), ("h264", "aac"));
    assert_eq!((stats.audio_channels, stats.audio_sample_rate), (2, 44_100));
    assert_eq!(stats.timestamp_jumps, 0, "{stats:?}");
    assert!(stats.bitrate_bps > 50_000, "{stats:?}");
    assert!(
        (900..=1_100).contains(&keyframe_interval_ms(&stats)),
        "{stats:?}"
    );
}

#[tokio::test]
async fn ten_seconds_between_keyframes_are_noticed() {
    let relayed = Relayed::start(&["-g", "250"]).await;
    relayed
        .measures("the keyframe interval is long", |stats| {
            keyframe_interval_ms(stats) > 9_000
        })
        .await;
}

#[tokio::test]
async fn nine_megabits_a_second_are_noticed() {
    let cbr = [
        "-b:v", "9M", "-minrate", "9M", "-maxrate", "9M", "-bufsize", "9M",
    ];
    let options = [&cbr[..], &["-x264-params", "nal-hrd=cbr", "-g", "25"]].concat();
    let relayed = Relayed::start(&options).await;
    relayed
        .measures("the bitrate is high", |stats| {
            (8_000_000..10_500_000).contains(&stats.bitrate_bps)
        })
        .await;
}

#[tokio::test]
async fn missing_audio_is_noticed() {
    let relayed = Relayed::start(&["-g", "25", "-an"]).await;
    relayed
        .measures("there is no audio", |stats| stats.has_audio == Some(false))
        .await;
}

#[tokio::test]
async fn timestamps_that_jump_ahead_are_noticed() {
    // By 5 seconds every 2 seconds, in the time base of FLV: milliseconds.
    let shift = "setts=pts='PTS+5000*floor(N/50)':dts='DTS+5000*floor(N/50)'";
    let relayed = Relayed::start(&["-g", "25", "-an", "-bsf:v", shift]).await;
    relayed
        .measures("a timestamp jumps", |stats| stats.timestamp_jumps > 0)
        .await;
}
