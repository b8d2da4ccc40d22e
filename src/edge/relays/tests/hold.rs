use std::{collections::HashMap, path::Path, time::Duration};

use tokio::{process::Command, time::sleep};

use super::{
    hooks::Hooks,
    proxy::{Behavior, Proxy},
    rig::{Nginx, Picture, Running, Worker, eventually, publish, publish_picture},
};
use crate::proto::v1::{OutagePolicy, RelayAssignment, RelayState};

/// The long form of these tests: an absence of 60 s, and ten of 5 s. It is run by hand.
const LONG_FORM_VARIABLE: &str = "SLUICE_TEST_LONG_HOLDS";

const LONG_ABSENCE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(60));
const SHORT_ABSENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
const SHORT_ABSENCES: (usize, usize) = (3, 10);

fn pick<T>((short, long): (T, T)) -> T {
    match std::env::var_os(LONG_FORM_VARIABLE).is_some() {
        true => long,
        false => short,
    }
}

fn assignment(input: &str, server_url: &str, policy: OutagePolicy) -> RelayAssignment {
    RelayAssignment {
        input_url: input.to_owned(),
        output_server_url: server_url.to_owned(),
        output_stream_key: "held".to_owned(),
        outage_policy: policy.into(),
        ..Default::default()
    }
}

/// A media server with a relay to a destination, which records.
struct Show {
    hooks: Hooks,
    input: Nginx,
    output: Nginx,
    relay: Running,
    _worker: Worker,
}

impl Show {
    /// With a relay that holds.
    async fn start() -> Self {
        let hooks = Hooks::start(200).await;
        let input = Nginx::start(&hooks.url()).await;
        let output = Nginx::start(&hooks.url()).await;
        let worker = Worker::new();
        let server = format!("rtmp://127.0.0.1:{}/live", output.port);
        let relay = worker.assign(assignment(&input.source(), &server, OutagePolicy::Hold));
        Self {
            hooks,
            input,
            output,
            relay,
            _worker: worker,
        }
    }

    /// Waits until the media of a publisher arrives.
    async fn broadcasts(&self) {
        self.relay.reaches(RelayState::Broadcasting).await;
        let sent = self.relay.now().bytes;
        self.relay.has_sent(sent + 20_000).await;
    }

    /// Lets an absence pass. Meanwhile the destination acknowledges bytes.
    async fn is_held_for(&self, absence: Duration) {
        let before = self.relay.reaches(RelayState::Holding).await;
        sleep(absence).await;
        assert_eq!(self.relay.now().state, RelayState::Holding);
        self.relay.has_sent(before.bytes + 1).await;
    }

    /// Ends the relay. Returns the packets of the only recording, which can be decoded.
    async fn recorded(self) -> Tracks {
        self.relay.end().await;
        let heard = self.hooks.heard();
        let publishes = heard.iter().filter(|asked| asked.contains("call=publish&"));
        assert_eq!(publishes.count(), 1, "{heard:?}");
        let recordings = self.output.recordings();
        assert_eq!(recordings.len(), 1, "{recordings:?}");
        decodes(&recordings[0]).await;
        tracks(&recordings[0]).await
    }
}

/// Checks that ffmpeg decodes a file without an error.
pub(super) async fn decodes(file: &Path) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .output();
    let output = output.await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

/// The decoding times of the packets of each track, in seconds.
pub(super) type Tracks = HashMap<String, Vec<f64>>;

pub(super) async fn tracks(file: &Path) -> Tracks {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=codec_type,dts_time"])
        .args(["-of", "csv=p=0"])
        .arg(file)
        .output();
    let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
    let mut tracks = Tracks::new();
    for line in text.lines() {
        let mut fields = line.split(',');
        let (Some(track), Some(time)) = (fields.next(), fields.next()) else {
            // Side data, such as another configuration, has a line of its own.
            continue;
        };
        let times = tracks.entry(track.to_owned()).or_default();
        times.push(time.parse().unwrap());
    }
    tracks
}

/// The longest pause of a recording, in seconds: longer than a busy machine delays packets, and
/// shorter than the absence of a publisher.
const MAX_PAUSE: f64 = 5.0;

/// Checks that times increase, without long pauses.
pub(super) fn assert_continuous(tracks: &Tracks) {
    for track in ["video", "audio"] {
        let times = &tracks[track];
        assert!(times.len() > 25, "{track}: {times:?}");
        for pair in times.windows(2) {
            let step = pair[1] - pair[0];
            assert!(step > 0.0, "{track} goes from {} to {}", pair[0], pair[1]);
            assert!(
                step < MAX_PAUSE,
                "{track} pauses for {step} s at {}",
                pair[0]
            );
        }
    }
}

fn duration(tracks: &Tracks) -> f64 {
    let last = tracks.values().filter_map(|times| times.last());
    last.copied().fold(0.0, f64::max)
}

#[tokio::test]
async fn the_absence_of_a_publisher_is_bridged_on_one_connection() {
    let show = Show::start().await;
    let mut publisher = publish(&show.input.source());
    show.broadcasts().await;

    publisher.kill().await.unwrap();
    let absence = pick(LONG_ABSENCE);
    show.is_held_for(absence).await;
    let _publisher = publish(&show.input.source());
    show.broadcasts().await;

    let tracks = show.recorded().await;
    assert_continuous(&tracks);
    assert!(duration(&tracks) > absence.as_secs_f64(), "{tracks:?}");
}

#[tokio::test]
async fn short_absences_in_a_row_are_bridged_on_one_connection() {
    let show = Show::start().await;
    let mut publisher = publish(&show.input.source());
    show.broadcasts().await;
    for _ in 0..pick(SHORT_ABSENCES) {
        publisher.kill().await.unwrap();
        show.is_held_for(pick(SHORT_ABSENCE)).await;
        publisher = publish(&show.input.source());
        show.broadcasts().await;
    }
    assert_continuous(&show.recorded().await);
}

#[tokio::test]
async fn a_publisher_may_return_with_another_resolution_and_other_audio() {
    let show = Show::start().await;
    let mut publisher = publish(&show.input.source());
    show.broadcasts().await;
    publisher.kill().await.unwrap();
    show.is_held_for(Duration::from_secs(3)).await;

    let other = Picture {
        size: "320x180",
        audio: "sine=sample_rate=48000",
    };
    let _publisher = publish_picture(&show.input.source(), other);
    show.broadcasts().await;
    assert_continuous(&show.recorded().await);
}

#[tokio::test]
async fn a_restart_of_the_media_server_is_bridged_on_one_connection() {
    let mut show = Show::start().await;
    let publisher = publish(&show.input.source());
    show.broadcasts().await;

    show.input.kill().await;
    drop(publisher);
    show.is_held_for(Duration::from_secs(3)).await;
    show.input.start_again().await;
    let _publisher = publish(&show.input.source());
    show.broadcasts().await;
    assert_continuous(&show.recorded().await);
}

#[tokio::test]
async fn a_publisher_that_freezes_is_bridged_until_it_continues() {
    let show = Show::start().await;
    let publisher = publish(&show.input.source());
    show.broadcasts().await;

    let id = rustix::process::Pid::from_raw(publisher.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::STOP).unwrap();
    show.is_held_for(Duration::from_secs(3)).await;
    rustix::process::kill_process(id, rustix::process::Signal::CONT).unwrap();
    show.broadcasts().await;
    assert_continuous(&show.recorded().await);
}

#[tokio::test]
async fn a_relay_follows_its_publisher_to_another_name() {
    let show = Show::start().await;
    let mut publisher = publish(&show.input.source());
    show.broadcasts().await;
    publisher.kill().await.unwrap();
    show.relay.reaches(RelayState::Holding).await;

    let elsewhere = show.input.url("source", "another-name");
    let _publisher = publish(&elsewhere);
    show.relay.follows(&elsewhere);
    show.broadcasts().await;
    assert_continuous(&show.recorded().await);
}

#[tokio::test]
async fn a_connection_that_is_lost_in_a_hold_is_replaced_by_one_that_is_held() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::PassesOn).await;
    let mut publisher = publish(&nginx.source());
    let worker = Worker::new();
    let holds = assignment(&nginx.source(), &proxy.url(), OutagePolicy::Hold);
    let relay = worker.assign(holds);
    relay.has_sent(1).await;
    // Sooner, the destination may have refused the stream.
    sleep(Duration::from_secs(12)).await;
    publisher.kill().await.unwrap();
    relay.reaches(RelayState::Holding).await;

    proxy.reset_all();
    let is_published_again = async || {
        let heard = hooks.heard();
        let publishes = heard.iter().filter(|asked| asked.contains("call=publish&"));
        publishes.count() == 2
    };
    eventually("it publishes again", is_published_again).await;
    let before = relay.reaches(RelayState::Holding).await;
    relay.has_sent(before.bytes + 1_000).await;
    let _publisher = publish(&nginx.source());
    relay.reaches(RelayState::Broadcasting).await;
    relay.has_sent(before.bytes + 20_000).await;

    relay.end().await;
    let recordings = nginx.recordings();
    assert_eq!(recordings.len(), 2, "{recordings:?}");
    decodes(&recordings[1]).await;
    assert_continuous(&tracks(&recordings[1]).await);
}

#[tokio::test]
async fn a_stop_during_a_hold_ends_the_stream_at_the_destination() {
    let show = Show::start().await;
    let mut publisher = publish(&show.input.source());
    show.broadcasts().await;
    publisher.kill().await.unwrap();
    show.is_held_for(Duration::from_secs(3)).await;

    show.relay.end().await;
    let heard = show.hooks.heard();
    let is_told = heard
        .iter()
        .any(|asked| asked.contains("call=publish_done"));
    assert!(is_told, "a clean end waits for the server: {heard:?}");
    assert_continuous(&show.recorded().await);
}

#[tokio::test]
async fn without_the_policy_nothing_is_sent_while_the_publisher_is_away() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let mut publisher = publish(&nginx.source());
    let worker = Worker::new();
    let server = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let ends = assignment(&nginx.source(), &server, OutagePolicy::End);
    let relay = worker.assign(ends);
    relay.has_sent(10_000).await;

    publisher.kill().await.unwrap();
    relay.reaches(RelayState::Stalled).await;
    let before = relay.now().bytes;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(relay.now().bytes, before);
}

#[tokio::test]
async fn a_policy_that_changes_during_an_absence_takes_effect() {
    let show = Show::start().await;
    let mut publisher = publish(&show.input.source());
    show.broadcasts().await;
    publisher.kill().await.unwrap();
    show.relay.reaches(RelayState::Holding).await;

    show.relay.holds(false);
    show.relay.reaches(RelayState::Stalled).await;
    show.relay.holds(true);
    show.relay.reaches(RelayState::Holding).await;
}
