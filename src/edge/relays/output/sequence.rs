use std::time::Instant;

use crate::edge::relays::media::{Packet, Timeline};

/// A packet with its timestamp in the output.
pub(super) type TimedPacket = (u32, Packet);

/// What an output sends of the packets of its queue, and with which timestamps.
///
/// The descriptions of another publisher are sent right before its first media: until then, what
/// bridges the time without media needs the previous ones.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    timeline: Timeline,
    /// The last description of each role.
    descriptions: Vec<Packet>,
    /// The descriptions of the epoch after that of the last media.
    pending: Vec<Packet>,
    /// The epoch of the last media.
    epoch: Option<u64>,
}

impl Sequence {
    /// Appends a packet of the queue, unless it repeats a description, and the descriptions that
    /// have waited for it.
    pub(super) fn push(&mut self, packet: Packet, now: Instant, packets: &mut Vec<TimedPacket>) {
        if packet.is_description() {
            if self.epoch.is_some_and(|epoch| epoch != packet.epoch) {
                self.pending
                    .retain(|other| other.epoch == packet.epoch && other.role != packet.role);
                self.pending.push(packet);
            } else if self.is_new(&packet) {
                packets.push((self.timeline.current(), packet));
            }
            return;
        }
        if self.epoch.is_some_and(|epoch| epoch != packet.epoch) {
            // Tracks that the next publisher does not have are over.
            let pending = &self.pending;
            let is_continued = |known: &Packet| pending.iter().any(|next| next.role == known.role);
            self.descriptions.retain(is_continued);
        }
        self.epoch = Some(packet.epoch);
        let timestamp = self.timeline.next(&packet, now);
        for description in std::mem::take(&mut self.pending) {
            if description.epoch == packet.epoch && self.is_new(&description) {
                packets.push((timestamp, description));
            }
        }
        packets.push((timestamp, packet));
    }

    /// The last description of each role that was sent.
    pub(super) fn descriptions(&self) -> &[Packet] {
        &self.descriptions
    }

    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    pub(super) fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// Whether a description differs from the last one of its role, whose place it takes.
    fn is_new(&mut self, packet: &Packet) -> bool {
        let mut known = self.descriptions.iter_mut();
        match known.find(|known| known.role == packet.role) {
            Some(known) if known.payload == packet.payload => return false,
            Some(known) => *known = packet.clone(),
            None => self.descriptions.push(packet.clone()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::edge::relays::{
        media::Role,
        rtmp::{Message, message::kind::VIDEO},
    };

    const HEADER: &[u8] = &[0x17, 0, 1];
    const OTHER_HEADER: &[u8] = &[0x17, 0, 2];
    const KEYFRAME: &[u8] = &[0x17, 1, 3];

    fn pushed(sequence: &mut Sequence, epoch: u64, payload: &'static [u8]) -> Vec<Role> {
        let message = Message {
            kind: VIDEO,
            timestamp: 0,
            stream_id: 1,
            payload: Bytes::from_static(payload),
        };
        let packet = Packet::of(&message, epoch).unwrap();
        let mut packets = Vec::new();
        sequence.push(packet, Instant::now(), &mut packets);
        packets.iter().map(|(_, packet)| packet.role).collect()
    }

    #[test]
    fn descriptions_of_another_publisher_are_sent_with_its_first_media_if_they_differ() {
        let mut sequence = Sequence::default();
        assert!(matches!(
            pushed(&mut sequence, 1, HEADER)[..],
            [Role::Header(_)]
        ));
        assert_eq!(pushed(&mut sequence, 1, KEYFRAME), [Role::Keyframe]);

        assert_eq!(pushed(&mut sequence, 2, HEADER), []);
        assert_eq!(pushed(&mut sequence, 2, KEYFRAME), [Role::Keyframe]);

        // A publisher that goes before its first media leaves nothing.
        assert_eq!(pushed(&mut sequence, 3, OTHER_HEADER), []);
        assert_eq!(pushed(&mut sequence, 4, HEADER), []);
        assert_eq!(pushed(&mut sequence, 4, KEYFRAME), [Role::Keyframe]);

        assert_eq!(pushed(&mut sequence, 5, OTHER_HEADER), []);
        assert!(matches!(
            pushed(&mut sequence, 5, KEYFRAME)[..],
            [Role::Header(_), Role::Keyframe]
        ));
    }

    #[test]
    fn descriptions_of_tracks_that_the_next_publisher_does_not_have_are_forgotten() {
        let mut sequence = Sequence::default();
        // Multitrack video of Enhanced RTMP: the sequence start of one track, by its id.
        let header = |track: u64| {
            let track = track.to_le_bytes()[0];
            let payload = [&[0x96, 0x00][..], b"avc1", &[track, 1, 2, 3]].concat();
            &*Box::leak(payload.into_boxed_slice())
        };
        let keyframe = b"\x96\x01avc1\x00\x01\x02";
        for epoch in 1..200 {
            for track in 0..4 {
                pushed(&mut sequence, epoch, header(epoch * 4 + track));
            }
            pushed(&mut sequence, epoch, keyframe);
            assert_eq!(sequence.descriptions().len(), 4, "{epoch}");
        }
    }
}
