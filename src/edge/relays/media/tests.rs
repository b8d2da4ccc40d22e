use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    fan_out::FanOut,
    output_queue::{OutputQueue, Queued},
    packet::{Packet, Role},
};
use crate::edge::relays::rtmp::{
    Message, amf0,
    message::kind::{AUDIO, DATA, VIDEO},
};

const VIDEO_HEADER: &[u8] = &[0x17, 0, 1];
const AUDIO_HEADER: &[u8] = &[0xaf, 0, 2];
const KEYFRAME: &[u8] = &[0x17, 1, 3];
const FRAME: &[u8] = &[0x27, 1, 4];
const SOUND: &[u8] = &[0xaf, 1, 5];

fn packet(kind: u8, timestamp: u32, payload: &[u8], epoch: u64) -> Packet {
    let message = Message {
        kind,
        timestamp,
        stream_id: 1,
        payload: Bytes::copy_from_slice(payload),
    };
    Packet::of(&message, epoch).unwrap()
}

fn video(fan_out: &FanOut, timestamp: u32, payload: &[u8]) {
    fan_out.publish(packet(VIDEO, timestamp, payload, 1));
}

fn audio(fan_out: &FanOut, timestamp: u32, payload: &[u8]) {
    fan_out.publish(packet(AUDIO, timestamp, payload, 1));
}

/// A stream with a keyframe every second, frames every 100 ms, until this time.
fn play(fan_out: &FanOut, from_ms: u32, until_ms: u32) {
    for timestamp in (from_ms..until_ms).step_by(100) {
        let is_key = timestamp % 1000 == 0;
        video(fan_out, timestamp, if is_key { KEYFRAME } else { FRAME });
        audio(fan_out, timestamp + 10, SOUND);
    }
}

fn started() -> FanOut {
    let fan_out = FanOut::default();
    video(&fan_out, 0, VIDEO_HEADER);
    audio(&fan_out, 0, AUDIO_HEADER);
    fan_out
}

/// All that waits in a queue.
async fn taken(queue: &Arc<OutputQueue>) -> Vec<(u32, Role)> {
    let mut all = Vec::new();
    while !queue.is_empty() {
        let batch = queue.next_batch().await;
        all.extend(batch.iter().map(|packet| (packet.timestamp, packet.role)));
    }
    all
}

fn without_headers(packets: &[(u32, Role)]) -> Vec<(u32, Role)> {
    let media = packets
        .iter()
        .filter(|(_, role)| !matches!(role, Role::Header(_)));
    media.copied().collect()
}

#[tokio::test]
async fn a_new_output_begins_with_the_headers_and_the_last_keyframe() {
    let fan_out = started();
    play(&fan_out, 0, 2_300);
    let queue = fan_out.subscribe(Duration::ZERO);
    let packets = taken(&queue).await;
    assert!(matches!(packets[0].1, Role::Header(_)) && matches!(packets[1].1, Role::Header(_)));
    assert_eq!(packets[2], (2_000, Role::Keyframe));
    assert_eq!(packets.len(), 2 + 6);
    play(&fan_out, 2_300, 2_400);
    let next = taken(&queue).await;
    assert_eq!(next, [(2_300, Role::Frame), (2_310, Role::Audio)]);
}

#[tokio::test]
async fn an_output_before_the_first_keyframe_waits_for_it_with_its_audio() {
    let fan_out = started();
    let queue = fan_out.subscribe(Duration::ZERO);
    play(&fan_out, 600, 1_000);
    assert_eq!(without_headers(&taken(&queue).await), []);
    video(&fan_out, 1_000, KEYFRAME);
    audio(&fan_out, 990, SOUND);
    audio(&fan_out, 1_010, SOUND);
    let packets = taken(&queue).await;
    assert_eq!(packets, [(1_000, Role::Keyframe), (1_010, Role::Audio)]);
}

#[tokio::test]
async fn audio_without_video_is_sent_after_a_second() {
    let fan_out = FanOut::default();
    let queue = fan_out.subscribe(Duration::ZERO);
    audio(&fan_out, 0, AUDIO_HEADER);
    for timestamp in (0..1_300).step_by(100) {
        audio(&fan_out, timestamp, SOUND);
    }
    let times: Vec<_> = without_headers(&taken(&queue).await)
        .iter()
        .map(|(time, _)| *time)
        .collect();
    assert_eq!(times, [1_000, 1_100, 1_200]);
}

#[tokio::test]
async fn a_slow_output_drops_to_a_keyframe_and_keeps_headers() {
    let fan_out = started();
    let queue = fan_out.subscribe(Duration::ZERO);
    play(&fan_out, 0, 60_000);
    assert!(queue.lag_ms() <= 4_000, "{}", queue.lag_ms());
    assert!(queue.dropped() > 1_000);
    let packets = taken(&queue).await;
    let headers = packets
        .iter()
        .filter(|(_, role)| matches!(role, Role::Header(_)));
    assert_eq!(headers.count(), 2);
    let media = without_headers(&packets);
    assert_eq!(media[0].1, Role::Keyframe);
    assert_eq!(media.last(), Some(&(59_910, Role::Audio)));
    for pair in media.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= 100, "{pair:?}");
    }
}

#[tokio::test]
async fn an_output_whose_group_of_pictures_is_too_long_waits_for_the_next_one() {
    let fan_out = started();
    let queue = fan_out.subscribe(Duration::ZERO);
    video(&fan_out, 0, KEYFRAME);
    for timestamp in (100..9_000).step_by(100) {
        video(&fan_out, timestamp, FRAME);
    }
    assert_eq!(without_headers(&taken(&queue).await), []);
    video(&fan_out, 9_000, KEYFRAME);
    assert_eq!(taken(&queue).await, [(9_000, Role::Keyframe)]);
}

#[tokio::test]
async fn an_output_does_not_begin_with_a_group_of_pictures_of_more_than_15_seconds() {
    let fan_out = started();
    video(&fan_out, 0, KEYFRAME);
    for timestamp in (500..15_500).step_by(500) {
        video(&fan_out, timestamp, FRAME);
    }
    let early = fan_out.subscribe(Duration::ZERO);
    assert_eq!(without_headers(&taken(&early).await).len(), 31);

    video(&fan_out, 15_500, FRAME);
    let late = fan_out.subscribe(Duration::ZERO);
    assert_eq!(without_headers(&taken(&late).await), []);
    video(&fan_out, 16_000, KEYFRAME);
    assert_eq!(taken(&late).await, [(16_000, Role::Keyframe)]);
}

#[tokio::test]
async fn a_slow_output_leaves_others_alone() {
    let fan_out = started();
    let (slow, fast) = (
        fan_out.subscribe(Duration::ZERO),
        fan_out.subscribe(Duration::ZERO),
    );
    let mut received = 0;
    for second in 0..30 {
        play(&fan_out, second * 1_000, (second + 1) * 1_000);
        received += without_headers(&taken(&fast).await).len();
    }
    assert_eq!((fast.dropped(), received), (0, 600));
    assert!(slow.dropped() > 0);
}

#[tokio::test]
async fn a_new_epoch_begins_at_its_own_keyframe() {
    let fan_out = started();
    let queue = fan_out.subscribe(Duration::ZERO);
    play(&fan_out, 0, 500);
    taken(&queue).await;
    fan_out.publish(packet(VIDEO, 9_000, FRAME, 2));
    fan_out.publish(packet(VIDEO, 9_100, KEYFRAME, 2));
    assert_eq!(taken(&queue).await, [(9_100, Role::Keyframe)]);
}

#[tokio::test]
async fn a_queue_tells_of_an_interruption_after_its_packets_until_media_comes() {
    let fan_out = started();
    let queue = fan_out.subscribe(Duration::ZERO);
    play(&fan_out, 0, 500);
    fan_out.interrupt();
    assert!(matches!(queue.next(true).await, Queued::Packets(_)));
    assert!(matches!(queue.next(true).await, Queued::Interrupted));

    // Descriptions of the next publisher are no media yet.
    fan_out.publish(packet(VIDEO, 0, VIDEO_HEADER, 2));
    assert!(matches!(queue.next(true).await, Queued::Packets(_)));
    assert!(matches!(queue.next(true).await, Queued::Interrupted));
    fan_out.publish(packet(VIDEO, 0, KEYFRAME, 2));
    assert!(matches!(queue.next(true).await, Queued::Packets(_)));
    let next = timeout(Duration::from_millis(50), queue.next(true));
    assert!(next.await.is_err(), "there is a publisher");
}

#[tokio::test]
async fn a_delayed_queue_tells_of_an_interruption_after_what_it_holds_back() {
    let fan_out = started();
    let queue = fan_out.subscribe(Duration::from_millis(300));
    play(&fan_out, 0, 500);
    fan_out.interrupt();
    assert_eq!(taken_until_interrupted(&queue).await, 2 + 10);

    // Another connection needs the descriptions. The publisher is still away.
    assert!(queue.restart());
    assert_eq!(taken_until_interrupted(&queue).await, 2);
    fan_out.publish(packet(VIDEO, 0, KEYFRAME, 2));
    assert!(matches!(queue.next(false).await, Queued::Packets(_)));
    let next = timeout(Duration::from_millis(50), queue.next(true));
    assert!(next.await.is_err(), "there is a publisher");
}

/// The number of packets before the interruption.
async fn taken_until_interrupted(queue: &Arc<OutputQueue>) -> usize {
    let mut taken = 0;
    while let Queued::Packets(batch) = queue.next(true).await {
        taken += batch.len();
    }
    taken
}

#[tokio::test]
async fn after_an_interruption_new_outputs_wait_for_the_next_publisher() {
    let fan_out = started();
    play(&fan_out, 0, 500);
    fan_out.interrupt();
    let queue = fan_out.subscribe(Duration::ZERO);
    assert_eq!(without_headers(&taken(&queue).await), []);
    fan_out.publish(packet(VIDEO, 7_000, KEYFRAME, 2));
    assert_eq!(taken(&queue).await, [(7_000, Role::Keyframe)]);
}

#[tokio::test]
async fn an_output_that_moves_to_another_input_gets_nothing_of_the_first_one_any_more() {
    let (first, second) = (started(), FanOut::default());
    let queue = first.subscribe(Duration::ZERO);
    play(&first, 0, 500);
    taken(&queue).await;
    second.publish(packet(VIDEO, 8_900, FRAME, 2));

    first.detach(&queue);
    second.attach(&queue);
    play(&first, 500, 2_000);
    second.publish(packet(VIDEO, 9_000, FRAME, 2));
    second.publish(packet(VIDEO, 9_100, KEYFRAME, 2));
    assert_eq!(taken(&queue).await, [(9_100, Role::Keyframe)]);
}

#[test]
fn a_codec_whose_configuration_is_missing_is_named() {
    let fan_out = FanOut::default();
    video(&fan_out, 0, b"\x90hvc1.");
    video(&fan_out, 0, b"\x91hvc1.");
    assert_eq!(fan_out.withheld_codec(), None);
    assert_eq!(fan_out.enhanced_codecs(), ["hvc1"]);

    let fan_out = FanOut::default();
    video(&fan_out, 0, b"\x91hvc1.");
    assert_eq!(fan_out.withheld_codec().as_deref(), Some("hvc1"));
    video(&fan_out, 10, b"\x90hvc1.");
    assert_eq!(fan_out.withheld_codec(), None, "it has come late");
}

#[tokio::test]
async fn a_delayed_output_receives_everything_later_and_begins_again_at_a_keyframe() {
    let delay = Duration::from_millis(300);
    let fan_out = started();
    let queue = fan_out.subscribe(delay);
    let begin = Instant::now();
    play(&fan_out, 0, 2_500);
    assert!(queue.is_empty());
    let mut first = received(&queue.next_batch().await);
    assert!(begin.elapsed() >= delay, "{:?}", begin.elapsed());
    first.extend(taken_later(&queue).await);
    assert_eq!(first.len(), 2 + 50);
    assert_eq!(queue.dropped(), 0);

    // The connection is lost, and replaced while packets are held back.
    play(&fan_out, 2_500, 3_200);
    assert!(queue.restart());
    let again = received(&queue.next_batch().await);
    let headers = again
        .iter()
        .take_while(|(_, role)| matches!(role, Role::Header(_)));
    assert_eq!(headers.count(), 2, "descriptions are sent again");
    let media = without_headers(&[again, taken_later(&queue).await].concat());
    assert_eq!(media[0], (3_000, Role::Keyframe));
    assert!(!fan_out.subscribe(Duration::ZERO).restart());
}

#[tokio::test]
async fn a_delayed_output_is_drained_when_it_has_sent_what_the_last_publisher_sent() {
    let fan_out = started();
    let delay = Duration::from_millis(300);
    let queue = fan_out.subscribe(delay);
    play(&fan_out, 0, 1000);
    fan_out.interrupt();
    queue.end();
    // The last packets of the publisher may arrive late; those of another one are not of the stream.
    video(&fan_out, 1000, FRAME);
    fan_out.publish(packet(VIDEO, 0, VIDEO_HEADER, 2));
    fan_out.publish(packet(VIDEO, 0, KEYFRAME, 2));
    fan_out.interrupt();
    assert!(!queue.is_drained());

    let mut taken = Vec::new();
    while taken.last() != Some(&(1000, Role::Frame)) {
        assert!(!queue.is_drained());
        taken.extend(received(&queue.next_batch().await));
    }
    assert_eq!(without_headers(&taken).len(), 21);
    assert!(!queue.is_drained(), "the last packets are being sent");
    let next = timeout(Duration::from_millis(10), queue.next(false)).await;
    assert!(next.is_err(), "{next:?}");
    assert!(queue.is_drained());
}

fn received(batch: &[Packet]) -> Vec<(u32, Role)> {
    let all = batch.iter().map(|packet| (packet.timestamp, packet.role));
    all.collect()
}

/// All that is held back.
async fn taken_later(queue: &Arc<OutputQueue>) -> Vec<(u32, Role)> {
    let mut all = Vec::new();
    while let Ok(batch) = timeout(Duration::from_secs(1), queue.next_batch()).await {
        all.extend(received(&batch));
    }
    all
}

#[test]
fn a_codec_that_is_announced_but_never_arrives_is_named() {
    let metadata = |codec: f64| {
        let mut payload = Vec::new();
        amf0::write_string("onMetaData", &mut payload);
        amf0::begin_object(&mut payload);
        amf0::write_name("videocodecid", &mut payload);
        amf0::write_number(codec, &mut payload);
        amf0::end_object(&mut payload);
        packet(DATA, 0, &payload, 1)
    };
    let hevc = f64::from(u32::from_be_bytes(*b"hvc1"));
    for (codec, has_video, withheld) in [
        (hevc, false, Some("hvc1")),
        (hevc, true, None),
        (7.0, false, None),
    ] {
        let fan_out = FanOut::default();
        fan_out.publish(metadata(codec));
        if has_video {
            video(&fan_out, 0, b"\x90hvc1.");
        }
        for timestamp in (0..4_900).step_by(100) {
            audio(&fan_out, timestamp, SOUND);
        }
        assert_eq!(fan_out.withheld_codec(), None, "it may still arrive");
        audio(&fan_out, 5_000, SOUND);
        assert_eq!(fan_out.withheld_codec().as_deref(), withheld, "{codec}");
    }
}
