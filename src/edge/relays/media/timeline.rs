use std::time::Instant;

use super::packet::Packet;
use crate::edge::relays::rtmp::message::kind::{AUDIO, VIDEO};

/// Differences between consecutive timestamps outside of these limits, in milliseconds, are a
/// new start: of another publisher, or of another clock.
const MAX_BACKWARD_MS: i64 = 1_000;
const MAX_FORWARD_MS: i64 = 10_000;

/// The timestamps of one output.
///
/// They begin at 0 and never go back. The distances between packets stay as they are,
/// between audio and video too. When the input starts anew, they continue after the time
/// that has passed meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    last: Option<Last>,
    /// The last packets of audio, video and data.
    tracks: [Option<Last>; 3],
    /// The last timestamps of audio, video and data.
    sent: [i64; 3],
}

#[derive(Debug, Clone, Copy)]
struct Last {
    epoch: u64,
    timestamp: u32,
    /// Its position in the output, in milliseconds.
    position: i64,
    at: Instant,
}

impl Last {
    /// The time from it to a packet, in milliseconds.
    fn step(self, packet: &Packet) -> i64 {
        i64::from(packet.timestamp.wrapping_sub(self.timestamp).cast_signed())
    }
}

impl Timeline {
    /// The timestamp of the next packet, which is sent `now`.
    pub(crate) fn next(&mut self, packet: &Packet, now: Instant) -> u32 {
        let track = match packet.kind() {
            VIDEO => 0,
            AUDIO => 1,
            _ => 2,
        };
        let position = self.position(self.tracks[track], packet, now);
        let last = Some(Last {
            epoch: packet.epoch,
            timestamp: packet.timestamp,
            position,
            at: now,
        });
        (self.last, self.tracks[track]) = (last, last);
        self.sent[track] = self.sent[track].max(position);
        wrapped(self.sent[track])
    }

    /// The position of a packet: as far from the last one of its track as their timestamps, or
    /// else from the last one of any track.
    fn position(&self, track: Option<Last>, packet: &Packet, now: Instant) -> i64 {
        let Some(last) = self.last else { return 0 };
        let track = track.filter(|track| track.epoch == packet.epoch);
        if let Some(track) = track
            && let step = track.step(packet)
            && (-MAX_BACKWARD_MS..=MAX_FORWARD_MS).contains(&step)
        {
            return track.position + step;
        }
        // The first packet of a track may be further behind the others.
        let backward = match track {
            Some(_) => MAX_BACKWARD_MS,
            None => MAX_FORWARD_MS,
        };
        let step = last.step(packet);
        if last.epoch == packet.epoch && (-backward..=MAX_FORWARD_MS).contains(&step) {
            return last.position + step;
        }
        let elapsed = now.saturating_duration_since(last.at).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        last.position + elapsed.clamp(1, i64::from(u32::MAX))
    }

    /// The greatest timestamp so far, for what has no time of its own.
    pub(crate) fn current(&self) -> u32 {
        wrapped(self.sent.into_iter().max().unwrap_or_default())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "timestamps of RTMP wrap, and positions that are sent are not negative"
)]
fn wrapped(position: i64) -> u32 {
    position as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{super::packet::Role, *};

    fn packet(role: Role, epoch: u64, timestamp: u32) -> Packet {
        Packet {
            epoch,
            timestamp,
            role,
            four_cc: None,
            payload: Bytes::new(),
        }
    }

    #[test]
    fn tracks_that_are_more_than_a_second_apart_keep_their_distance() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        let mut next = |role, timestamp| timeline.next(&packet(role, 0, timestamp), now);
        assert_eq!(next(Role::Keyframe, 10_000), 0);
        next(Role::Audio, 8_500);
        for step in 1..100 {
            assert_eq!(next(Role::Frame, 10_000 + 40 * step), 40 * step);
            next(Role::Audio, 8_500 + 40 * step);
        }
        // Audio began 1.5 s before the first video, which is 0.
        assert_eq!(next(Role::Audio, 12_500), 2_500);
    }

    #[test]
    fn distances_stay_and_each_kind_of_media_never_goes_back() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        for (role, timestamp, sent) in [
            (Role::Keyframe, 5_000, 0),
            (Role::Audio, 5_010, 10),
            (Role::Frame, 5_040, 40),
            (Role::Audio, 5_033, 33),
            (Role::Frame, 5_020, 40),
            (Role::Frame, 5_080, 80),
        ] {
            let next = timeline.next(&packet(role, 1, timestamp), now);
            assert_eq!(next, sent, "{role:?} {timestamp}");
        }
    }

    #[test]
    fn a_new_epoch_and_a_jump_continue_after_the_time_that_has_passed() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        timeline.next(&packet(Role::Keyframe, 1, 900_000), now);
        timeline.next(&packet(Role::Frame, 1, 901_000), now);
        let later = now + Duration::from_millis(700);
        assert_eq!(timeline.next(&packet(Role::Keyframe, 2, 0), later), 1_700);
        assert_eq!(timeline.next(&packet(Role::Frame, 2, 40), later), 1_740);
        assert_eq!(timeline.next(&packet(Role::Frame, 2, 90_000), later), 1_741);
        assert_eq!(timeline.next(&packet(Role::Frame, 2, 80_000), later), 1_742);
    }

    #[test]
    fn timestamps_of_the_input_may_wrap() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        timeline.next(&packet(Role::Keyframe, 1, u32::MAX - 9), now);
        assert_eq!(timeline.next(&packet(Role::Frame, 1, 30), now), 40);
    }
}
