use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep_until};

use super::{
    delay::Delay,
    packet::{Packet, Role},
};

/// The most media that waits for a destination, in milliseconds.
const MAX_LAG_MS: i64 = 4_000;

/// The same in bytes: 4 seconds at 64 Mbit/s. Outputs share the packets.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The most packets that wait, whatever their sizes and timestamps.
const MAX_PACKETS: usize = 20_000;

/// The packets that an output takes at once, in bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// What an output has not sent yet.
///
/// When the destination is too slow, old packets are dropped up to a keyframe, so that the
/// output stays live. Audio and video start together.
#[derive(Debug)]
pub(crate) struct OutputQueue {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug)]
struct State {
    packets: VecDeque<Packet>,
    bytes: usize,
    /// Whether media is skipped until the next keyframe.
    awaits_keyframe: bool,
    /// The timestamp of the keyframe at which the output began: earlier audio is skipped.
    start: Option<u32>,
    epoch: u64,
    /// The epoch of the last packet that has arrived, which may be held back.
    arrived_epoch: u64,
    /// Whether the stream has ended: no media of another publisher follows.
    has_ended: bool,
    /// Whether the output has sent all packets that it has taken.
    is_idle: bool,
    /// The lag that is allowed: more while the output catches up after its start.
    max_lag_ms: i64,
    /// Whether the publisher is known to be away: no media of the next one has come.
    is_interrupted: bool,
    delay: Delay,
    /// The last descriptions that the output has taken.
    described: VecDeque<Packet>,
    /// The packets that were dropped because the destination was too slow.
    dropped: u64,
}

/// What a queue has next.
#[derive(Debug)]
pub(crate) enum Queued {
    /// Packets, oldest first; never none.
    Packets(Vec<Packet>),
    /// The publisher is away, and all of its packets were taken.
    Interrupted,
}

impl State {
    fn new(delay: Duration) -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
            awaits_keyframe: true,
            start: None,
            epoch: 0,
            arrived_epoch: 0,
            has_ended: false,
            is_idle: false,
            max_lag_ms: MAX_LAG_MS,
            is_interrupted: false,
            delay: Delay::new(delay),
            described: VecDeque::new(),
            dropped: 0,
        }
    }
}

impl OutputQueue {
    /// With the delay after which packets can be taken.
    pub(super) fn new(delay: Duration) -> Self {
        Self {
            state: Mutex::new(State::new(delay)),
            filled: Notify::new(),
        }
    }

    /// Begins with descriptions and the group of pictures so far.
    pub(super) fn start(&self, packets: impl Iterator<Item = Packet>) {
        let mut state = self.state.lock();
        for packet in packets {
            if !state.accepts(&packet) {
                continue;
            }
            match state.delay.is_zero() {
                true => state.push(packet, true),
                false => state.delay.push(Some((packet, true)), Instant::now()),
            }
        }
        state.max_lag_ms = MAX_LAG_MS + state.lag_ms().max(0);
        drop(state);
        self.filled.notify_one();
    }

    /// Appends a packet. Without video, an output begins at any packet.
    pub(super) fn push(&self, packet: Packet, has_video: bool) {
        let mut state = self.state.lock();
        if !state.accepts(&packet) {
            return;
        }
        match state.delay.is_zero() {
            true => state.append(packet, has_video),
            false => {
                let now = Instant::now();
                state.delay.push(Some((packet, has_video)), now);
                state.release(now);
            }
        }
        let is_filled = !state.packets.is_empty();
        drop(state);
        if is_filled {
            self.filled.notify_one();
        }
    }

    /// The publisher is away. What is held back is sent before.
    pub(super) fn interrupt(&self) {
        let mut state = self.state.lock();
        if state.has_ended {
            return;
        }
        match state.delay.is_zero() {
            true => state.is_interrupted = true,
            false => state.delay.push(None, Instant::now()),
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The stream has ended: what its last publisher has sent is sent, and nothing of another one.
    pub(super) fn end(&self) {
        self.state.lock().has_ended = true;
    }

    /// Whether the stream has ended and the output has sent all of it.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        let is_empty = state.packets.is_empty() && state.delay.is_empty();
        state.has_ended && is_empty && state.is_idle
    }

    /// Skips media until the next keyframe, unless there is media that can be taken.
    pub(crate) fn await_keyframe(&self) {
        let mut state = self.state.lock();
        state.awaits_keyframe |= state.packets.iter().all(Packet::is_description);
    }

    /// The next packets, or with `heeds_interruption` that there are none because the publisher
    /// is away. Nothing is lost when it is dropped.
    pub(crate) async fn next(&self, heeds_interruption: bool) -> Queued {
        loop {
            let (is_interrupted, next_due) = {
                let mut state = self.state.lock();
                state.release(Instant::now());
                let batch = state.take_batch();
                state.is_idle = batch.is_empty();
                if !batch.is_empty() {
                    return Queued::Packets(batch);
                }
                (state.is_interrupted, state.delay.next_due())
            };
            if heeds_interruption && is_interrupted {
                return Queued::Interrupted;
            }
            tokio::select! {
                () = self.filled.notified() => {}
                () = until(next_due) => {}
            }
        }
    }

    /// Begins again for another connection, at a keyframe, if packets are held back. Without a
    /// delay, a new queue is as good.
    pub(crate) fn restart(&self) -> bool {
        let mut state = self.state.lock();
        let is_delayed = !state.delay.is_zero();
        if is_delayed {
            state.restart();
        }
        is_delayed
    }

    /// The next packets, oldest first; never none.
    #[cfg(test)]
    pub(crate) async fn next_batch(&self) -> Vec<Packet> {
        match self.next(false).await {
            Queued::Packets(batch) => batch,
            Queued::Interrupted => Vec::new(),
        }
    }

    /// The number of packets that were dropped because the destination was too slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// The media that waits, in milliseconds.
    pub(crate) fn lag_ms(&self) -> i64 {
        self.state.lock().lag_ms()
    }

    /// Whether no packet waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().packets.is_empty()
    }
}

impl State {
    /// Appends the packets whose delay is over.
    fn release(&mut self, now: Instant) {
        while let Some(due) = self.delay.pop_due(now) {
            match due {
                Some((packet, has_video)) => self.append(packet, has_video),
                None => self.is_interrupted = true,
            }
        }
    }

    /// Whether a packet that arrives is one of the stream.
    fn accepts(&mut self, packet: &Packet) -> bool {
        let is_of_stream = !self.has_ended || packet.epoch == self.arrived_epoch;
        if is_of_stream {
            self.arrived_epoch = packet.epoch;
        }
        is_of_stream
    }

    /// Appends a packet, and drops old ones if there are too many.
    fn append(&mut self, packet: Packet, has_video: bool) {
        self.push(packet, has_video);
        if self.lag_ms() > self.max_lag_ms || self.is_too_large() {
            self.dropped += self.drop_to_keyframe(has_video);
        }
    }

    fn restart(&mut self) {
        let waiting = std::mem::take(&mut self.packets);
        let described = std::mem::take(&mut self.described);
        // All that waits is from before the interruption.
        let is_interrupted = self.is_interrupted;
        self.bytes = 0;
        self.is_idle = false;
        self.start = None;
        self.awaits_keyframe = true;
        for packet in described.into_iter().chain(waiting) {
            self.push(packet, true);
        }
        self.is_interrupted = is_interrupted;
    }

    fn push(&mut self, packet: Packet, has_video: bool) {
        if packet.epoch != self.epoch {
            self.epoch = packet.epoch;
            self.awaits_keyframe = true;
        }
        if self.skips(&packet, has_video) {
            return;
        }
        self.is_interrupted &= packet.is_description();
        self.bytes += packet.payload.len();
        self.packets.push_back(packet);
    }

    fn skips(&mut self, packet: &Packet, has_video: bool) -> bool {
        match packet.role {
            Role::Metadata | Role::Header(_) => false,
            Role::Keyframe => {
                if self.awaits_keyframe {
                    self.start = Some(packet.timestamp);
                }
                self.awaits_keyframe = false;
                false
            }
            Role::Frame | Role::Data => self.awaits_keyframe,
            Role::Audio => {
                self.awaits_keyframe &= has_video;
                self.awaits_keyframe || self.is_before_start(packet)
            }
        }
    }

    fn is_before_start(&mut self, packet: &Packet) -> bool {
        let is_before = |start: u32| packet.timestamp.wrapping_sub(start).cast_signed() < 0;
        let is_early = self.start.is_some_and(is_before);
        if !is_early {
            self.start = None;
        }
        is_early
    }

    fn take_batch(&mut self) -> Vec<Packet> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(packet) = self.packets.pop_front()
        {
            bytes += packet.payload.len();
            if packet.is_description() && !self.delay.is_zero() {
                self.described.push_back(packet.clone());
            }
            batch.push(packet);
        }
        keep_last_descriptions(&mut self.described);
        self.bytes -= bytes;
        if self.packets.is_empty() {
            self.max_lag_ms = MAX_LAG_MS;
        }
        batch
    }

    fn is_too_large(&self) -> bool {
        self.bytes > MAX_BYTES || self.packets.len() > MAX_PACKETS
    }

    /// The time between the oldest and the newest media of the newest epoch.
    fn lag_ms(&self) -> i64 {
        let mut media = self
            .packets
            .iter()
            .filter(|packet| !packet.is_description() && packet.epoch == self.epoch);
        let (Some(first), Some(last)) = (media.next(), media.next_back()) else {
            return 0;
        };
        i64::from(last.timestamp.wrapping_sub(first.timestamp).cast_signed())
    }

    /// Drops what is before the last keyframe, or everything if that is still too much.
    /// Descriptions stay. Returns the number of dropped packets.
    fn drop_to_keyframe(&mut self, has_video: bool) -> u64 {
        let is_keyframe = |packet: &Packet| packet.role == Role::Keyframe;
        let before = self.packets.len();
        if let Some(at) = self.packets.iter().rposition(is_keyframe) {
            let start = self.packets[at].timestamp;
            self.drop_media_before(at);
            self.start = Some(start);
        }
        if self.lag_ms() > MAX_LAG_MS || self.is_too_large() || before == self.packets.len() {
            self.drop_media_before(self.packets.len());
            self.awaits_keyframe = has_video;
        }
        (before - self.packets.len()) as u64
    }

    fn drop_media_before(&mut self, end: usize) {
        let tail = self.packets.split_off(end);
        self.packets.retain(Packet::is_description);
        keep_last_descriptions(&mut self.packets);
        self.packets.extend(tail);
        self.bytes = self.packets.iter().map(|packet| packet.payload.len()).sum();
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Keeps the last description of each role.
fn keep_last_descriptions(descriptions: &mut VecDeque<Packet>) {
    let roles: Vec<_> = descriptions.iter().map(|packet| packet.role).collect();
    let mut at = 0;
    descriptions.retain(|packet| {
        at += 1;
        !roles[at..].contains(&packet.role)
    });
}
