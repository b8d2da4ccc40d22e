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
/// that has passed meanwhile, and after all that was sent.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    last: Option<Last>,
    /// The last packets of audio, video and data.
    tracks: [Option<Last>; 3],
    /// The last timestamps of audio, video and data.
    sent: [i64; 3],
    /// Whether the next packet is a new start, whatever its timestamp.
    is_restarted: bool,
}

/// The tracks of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Track {
    Video,
    Audio,
    Data,
}

impl Track {
    fn of(packet: &Packet) -> Self {
        match packet.kind() {
            VIDEO => Self::Video,
            AUDIO => Self::Audio,
            _ => Self::Data,
        }
    }
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

    /// The position after the time that has passed since it, at least one millisecond.
    fn position_at(self, now: Instant) -> i64 {
        let elapsed = now.saturating_duration_since(self.at).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        self.position + elapsed.clamp(1, i64::from(u32::MAX))
    }
}

impl Timeline {
    /// The timestamp of the next packet, which is sent `now`.
    pub(crate) fn next(&mut self, packet: &Packet, now: Instant) -> u32 {
        let track = Track::of(packet) as usize;
        let position = self.position(self.tracks[track], packet, now);
        let last = Some(Last {
            epoch: packet.epoch,
            timestamp: packet.timestamp,
            position,
            at: now,
        });
        (self.last, self.tracks[track]) = (last, last);
        self.is_restarted = false;
        self.sent[track] = self.sent[track].max(position);
        wrapped(self.sent[track])
    }

    /// The position of a packet: as far from the last one of its track as their timestamps, or
    /// else from the last one of any track.
    fn position(&self, track: Option<Last>, packet: &Packet, now: Instant) -> i64 {
        let Some(last) = self.last else { return 0 };
        if self.is_restarted {
            return self.restart_position(last, now);
        }
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
        self.restart_position(last, now)
    }

    /// The position of a packet that is sent `now`, whose timestamp is unrelated to others.
    fn restart_position(&self, last: Last, now: Instant) -> i64 {
        let sent = self.sent.into_iter().max().unwrap_or_default();
        last.position_at(now).max(sent + 1)
    }

    /// Makes the next packet a new start: something else was sent instead of what is missing.
    pub(crate) fn restart(&mut self) {
        self.is_restarted = true;
        self.tracks = [None; 3];
    }

    /// The position that the media would have `now`; `None` before the first packet.
    pub(super) fn position_at(&self, now: Instant) -> Option<i64> {
        Some(self.last?.position_at(now))
    }

    /// The position of the last packet of a track.
    pub(super) fn sent(&self, track: Track) -> i64 {
        self.sent[track as usize]
    }

    /// The timestamp of a packet that is not from the input, at a position after all others of
    /// its track.
    pub(super) fn place(&mut self, track: Track, position: i64) -> u32 {
        let sent = &mut self.sent[track as usize];
        *sent = position.max(*sent + 1);
        wrapped(*sent)
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
    fn after_a_restart_all_tracks_continue_behind_everything_that_was_sent() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        timeline.next(&packet(Role::Keyframe, 1, 5_000), now);
        timeline.next(&packet(Role::Audio, 1, 5_020), now);
        let later = now + Duration::from_secs(3);
        assert_eq!(timeline.position_at(later), Some(3_020));
        assert_eq!(timeline.place(Track::Audio, 3_020), 3_020);
        assert_eq!(timeline.place(Track::Audio, 3_020), 3_021);
        assert_eq!(timeline.place(Track::Video, 2_000), 2_000);

        timeline.restart();
        // The same epoch, a plausible step: it would be at 3 s without the restart.
        assert_eq!(
            timeline.next(&packet(Role::Keyframe, 1, 8_000), later),
            3_022
        );
        assert_eq!(timeline.next(&packet(Role::Audio, 1, 8_010), later), 3_032);
        assert_eq!(timeline.next(&packet(Role::Frame, 1, 8_040), later), 3_062);
    }

    #[test]
    fn timestamps_of_the_input_may_wrap() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        timeline.next(&packet(Role::Keyframe, 1, u32::MAX - 9), now);
        assert_eq!(timeline.next(&packet(Role::Frame, 1, 30), now), 40);
    }
}
