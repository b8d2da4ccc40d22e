use std::time::Instant;

use bytes::Bytes;

use crate::edge::relays::media::{Packet, Role, Timeline};

/// What an output sends of the packets of its queue, and with which timestamps.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    timeline: Timeline,
    /// The last description of each role.
    descriptions: Vec<(Role, Bytes)>,
}

impl Sequence {
    /// The timestamp of the next packet; `None` if it repeats a description.
    pub(super) fn next(&mut self, packet: &Packet, now: Instant) -> Option<u32> {
        if !packet.is_description() {
            return Some(self.timeline.next(packet, now));
        }
        let known = self
            .descriptions
            .iter_mut()
            .find(|(role, _)| *role == packet.role);
        match known {
            Some((_, payload)) if *payload == packet.payload => return None,
            Some((_, payload)) => *payload = packet.payload.clone(),
            None => self
                .descriptions
                .push((packet.role, packet.payload.clone())),
        }
        Some(self.timeline.current())
    }
}
