use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    delivery::Delivery,
    sequence::{Sequence, TimedPacket},
};
use crate::edge::relays::media::{Hold, OutputQueue, Packet, Queued, Subscription};

/// The silence of an input without a notice of its end, after which the output is held. What was
/// only late up to the next keyframe is lost then, so it is longer than uplinks usually pause, and
/// shorter than the time after which a relay without progress is stalled.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often silence and the outage policy are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// What an output sends: the media of its input, and what bridges the time without media.
#[derive(Debug)]
pub(super) struct Playout<'a> {
    subscription: &'a Subscription,
    delivery: &'a Delivery,
    queue: Arc<OutputQueue>,
    sequence: Sequence,
    hold: Hold,
    /// When media last came from the input.
    media_at: Instant,
    /// What is sent again on a new connection.
    repeated: VecDeque<TimedPacket>,
}

impl<'a> Playout<'a> {
    /// Begins to receive media, for a new connection.
    pub(super) fn new(subscription: &'a Subscription, delivery: &'a Delivery) -> Self {
        let queue = subscription.subscribe();
        delivery.observe(&queue);
        delivery.set_holding(false);
        let mut playout = Self {
            subscription,
            delivery,
            queue,
            sequence: Sequence::default(),
            hold: Hold::default(),
            media_at: Instant::now(),
            repeated: VecDeque::new(),
        };
        playout.resume_hold();
        playout
    }

    /// Continues the hold in which the connection before was lost.
    fn resume_hold(&mut self) {
        let held = self.subscription.take_held();
        if held.is_empty() || !self.subscription.holds() {
            return;
        }
        let mut packets = self.media(held);
        packets.extend(self.begin_hold());
        self.repeated = packets.into();
    }

    /// The next packets; never none. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> Vec<TimedPacket> {
        if !self.repeated.is_empty() {
            return std::mem::take(&mut self.repeated).into();
        }
        loop {
            let holds = self.subscription.holds() && self.hold.is_possible();
            if !holds {
                self.end_hold();
            }
            let can_begin = holds && !self.hold.is_active();
            let interval = match self.hold.is_active() {
                true => Hold::FILL_INTERVAL,
                false => CHECK_INTERVAL,
            };
            let packets = tokio::select! {
                biased;
                queued = self.queue.next(can_begin) => match queued {
                    Queued::Packets(batch) => self.media(batch),
                    Queued::Interrupted => self.begin_hold(),
                },
                () = sleep(interval) => match self.hold.is_active() {
                    true => self.fill(),
                    false if can_begin && self.media_at.elapsed() >= SILENCE_TIMEOUT => {
                        self.begin_hold()
                    }
                    false => Vec::new(),
                },
            };
            if !packets.is_empty() {
                return packets;
            }
        }
    }

    /// Sends these packets on a new connection, after the descriptions that it needs.
    pub(super) fn repeat(&mut self, packets: impl IntoIterator<Item = TimedPacket>) {
        let mut packets = packets.into_iter().peekable();
        let timestamp = packets.peek().map_or(0, |(timestamp, _)| *timestamp);
        let descriptions = self.sequence.descriptions().iter().cloned();
        self.repeated = descriptions
            .map(|description| (timestamp, description))
            .chain(packets.filter(|(_, packet)| !packet.is_description()))
            .collect();
    }

    fn media(&mut self, batch: Vec<Packet>) -> Vec<TimedPacket> {
        let now = Instant::now();
        let mut packets = Vec::with_capacity(batch.len());
        for packet in batch {
            if !packet.is_description() {
                self.media_at = now;
                if self.hold.is_active() {
                    // Up to now there was silence.
                    packets.extend(self.fill());
                    self.end_hold();
                }
            }
            self.sequence.push(packet, now, &mut packets);
        }
        for (_, packet) in &packets {
            self.hold.observe(packet);
        }
        packets
    }

    /// Begins to bridge the time without media. What is sent before the next keyframe depends on
    /// frames that decoders do not have any more.
    fn begin_hold(&mut self) -> Vec<TimedPacket> {
        self.queue.await_keyframe();
        self.hold.begin(self.sequence.timeline());
        self.delivery.set_holding(true);
        let descriptions = self.sequence.descriptions().iter().cloned();
        let held = descriptions.chain(self.hold.first_packet());
        self.subscription.keep_held(held.collect());
        self.fill()
    }

    fn fill(&mut self) -> Vec<TimedPacket> {
        let timeline = self.sequence.timeline_mut();
        self.hold.fill(timeline, Instant::now())
    }

    fn end_hold(&mut self) {
        if self.hold.end() {
            self.sequence.timeline_mut().restart();
            self.delivery.set_holding(false);
            self.subscription.keep_held(Vec::new());
        }
    }
}
