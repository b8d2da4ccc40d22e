use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::packet::Packet;

/// The most media that an output holds back, in bytes: 60 seconds at 17 Mbit/s. With more, the
/// delay is shorter. Outputs share the packets.
const MAX_HELD_BYTES: usize = 128 * 1024 * 1024;

/// The most packets that it holds back, whatever their sizes.
const MAX_HELD_PACKETS: usize = 50_000;

/// Packets that are held back until their delay is over.
#[derive(Debug, Default)]
pub(super) struct Delay {
    duration: Duration,
    held: VecDeque<Held>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    due: Instant,
    item: Item,
}

/// A packet, and whether the stream has video; `None` stands for an interruption of it.
type Item = Option<(Packet, bool)>;

fn bytes(item: &Item) -> usize {
    item.as_ref().map_or(0, |(packet, _)| packet.payload.len())
}

impl Delay {
    pub(super) fn new(duration: Duration) -> Self {
        Self {
            duration,
            ..Self::default()
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.duration.is_zero()
    }

    /// Holds a packet back that has arrived `now`, or an interruption.
    pub(super) fn push(&mut self, item: Item, now: Instant) {
        self.bytes += bytes(&item);
        self.held.push_back(Held {
            due: now + self.duration,
            item,
        });
    }

    /// The oldest packet or interruption, if its delay is over or too many are held back.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Item> {
        let is_full = self.bytes > MAX_HELD_BYTES || self.held.len() > MAX_HELD_PACKETS;
        let held = self.held.pop_front_if(|held| is_full || held.due <= now)?;
        self.bytes -= bytes(&held.item);
        Some(held.item)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When the delay of the oldest packet is over.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.front().map(|held| held.due)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{super::packet::Role, *};

    const SECOND: Duration = Duration::from_secs(1);

    fn packet(bytes: usize) -> Packet {
        Packet {
            epoch: 1,
            timestamp: 0,
            role: Role::Frame,
            four_cc: None,
            payload: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn packets_are_due_in_order_after_the_delay() {
        let now = Instant::now();
        let mut delay = Delay::new(30 * SECOND);
        delay.push(Some((packet(1), true)), now);
        delay.push(Some((packet(2), true)), now + SECOND);
        assert_eq!(delay.next_due(), Some(now + 30 * SECOND));
        assert!(delay.pop_due(now + 29 * SECOND).is_none());
        let (first, _) = delay.pop_due(now + 30 * SECOND).unwrap().unwrap();
        assert_eq!(first.payload.len(), 1);
        assert!(delay.pop_due(now + 30 * SECOND).is_none());
        assert!(delay.pop_due(now + 31 * SECOND).is_some());
        assert_eq!((delay.bytes, delay.next_due()), (0, None));
    }

    #[test]
    fn more_than_the_most_bytes_are_due_at_once() {
        let now = Instant::now();
        let mut delay = Delay::new(60 * SECOND);
        let packet = packet(1024 * 1024);
        for _ in 0..200 {
            delay.push(Some((packet.clone(), true)), now);
            while delay.pop_due(now).is_some() {}
        }
        assert_eq!(delay.bytes, MAX_HELD_BYTES);
    }
}
