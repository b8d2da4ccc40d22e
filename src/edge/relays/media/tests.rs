use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    fan_out::FanOut,
    output_queue::{OutputQueue, Queued},
    packet::{Packet, Role},
};
use crate::edge::relays::rtmp::{
    Message,
    message::kind::{AUDIO, VIDEO},
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
    let queue = fan_out.subscribe();
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
    let queue = fan_out.subscribe();
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
    let queue = fan_out.subscribe();
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
    let queue = fan_out.subscribe();
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
    let queue = fan_out.subscribe();
    video(&fan_out, 0, KEYFRAME);
    for timestamp in (100..9_000).step_by(100) {
        video(&fan_out, timestamp, FRAME);
    }
    assert_eq!(without_headers(&taken(&queue).await), []);
    video(&fan_out, 9_000, KEYFRAME);
    assert_eq!(taken(&queue).await, [(9_000, Role::Keyframe)]);
}

#[tokio::test]
async fn a_slow_output_leaves_others_alone() {
    let fan_out = started();
    let (slow, fast) = (fan_out.subscribe(), fan_out.subscribe());
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
    let queue = fan_out.subscribe();
    play(&fan_out, 0, 500);
    taken(&queue).await;
    fan_out.publish(packet(VIDEO, 9_000, FRAME, 2));
    fan_out.publish(packet(VIDEO, 9_100, KEYFRAME, 2));
    assert_eq!(taken(&queue).await, [(9_100, Role::Keyframe)]);
}

#[tokio::test]
async fn a_queue_tells_of_an_interruption_after_its_packets_until_media_comes() {
    let fan_out = started();
    let queue = fan_out.subscribe();
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
async fn after_an_interruption_new_outputs_wait_for_the_next_publisher() {
    let fan_out = started();
    play(&fan_out, 0, 500);
    fan_out.interrupt();
    let queue = fan_out.subscribe();
    assert_eq!(without_headers(&taken(&queue).await), []);
    fan_out.publish(packet(VIDEO, 7_000, KEYFRAME, 2));
    assert_eq!(taken(&queue).await, [(7_000, Role::Keyframe)]);
}

#[tokio::test]
async fn an_output_that_moves_to_another_input_gets_nothing_of_the_first_one_any_more() {
    let (first, second) = (started(), FanOut::default());
    let queue = first.subscribe();
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
    assert_eq!(fan_out.unconfigured_codec(), None);
    assert_eq!(fan_out.enhanced_codecs(), ["hvc1"]);

    let fan_out = FanOut::default();
    video(&fan_out, 0, b"\x91hvc1.");
    assert_eq!(fan_out.unconfigured_codec().as_deref(), Some("hvc1"));
}
