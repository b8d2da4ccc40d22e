use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    output_queue::OutputQueue,
    packet::{AnnouncedVideo, Packet, Role},
};

/// The most media of the current group of pictures that is kept for new outputs.
const MAX_GROUP_BYTES: usize = 32 * 1024 * 1024;
const MAX_GROUP_PACKETS: usize = 10_000;

/// The longest group of pictures that is kept, in milliseconds: a new output begins so much later.
/// OBS sends a keyframe every 8 to 10 seconds by default.
const MAX_GROUP_MS: u32 = 15_000;

/// The most codec configurations that are passed on, and the longest one.
const MAX_HEADERS: usize = 32;
const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;

/// The time for which audio waits for a first video packet, in milliseconds: unannounced, and
/// announced by the metadata.
const VIDEO_WAIT_MS: u32 = 1_000;
const ANNOUNCED_VIDEO_WAIT_MS: u32 = 5_000;

/// Distributes the packets of one input to outputs, and keeps what a new output starts with:
/// metadata, codec configurations and the current group of pictures.
#[derive(Debug, Default)]
pub(crate) struct FanOut {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    descriptions: Vec<Packet>,
    group: Vec<Packet>,
    group_bytes: usize,
    /// The timestamp of the first audio packet of the epoch.
    first_audio: Option<u32>,
    has_video: bool,
    announced_video: Option<AnnouncedVideo>,
    epoch: u64,
    /// The first codec of Enhanced RTMP that the media server does not pass on, or without
    /// its configuration.
    withheld: Option<String>,
    queues: Vec<Weak<OutputQueue>>,
}

impl FanOut {
    /// Adds an output, which receives packets after a delay.
    pub(crate) fn subscribe(&self, delay: Duration) -> Arc<OutputQueue> {
        let queue = Arc::new(OutputQueue::new(delay));
        self.attach(&queue);
        queue
    }

    /// Adds an output that may have received packets of another input.
    pub(crate) fn attach(&self, queue: &Arc<OutputQueue>) {
        let mut state = self.state.lock();
        let packets = state.descriptions.iter().chain(&state.group).cloned();
        queue.start(packets);
        state.queues.retain(|queue| queue.strong_count() > 0);
        state.queues.push(Arc::downgrade(queue));
    }

    /// Removes an output.
    pub(crate) fn detach(&self, queue: &Arc<OutputQueue>) {
        let mut state = self.state.lock();
        let is_other = |other: &Weak<OutputQueue>| other.as_ptr() != Arc::as_ptr(queue);
        state.queues.retain(is_other);
    }

    /// The publisher is away: its packets come no more, and new outputs wait for the next one.
    pub(crate) fn interrupt(&self) {
        let mut state = self.state.lock();
        state.group.clear();
        state.group_bytes = 0;
        for queue in state.queues.iter().filter_map(Weak::upgrade) {
            queue.interrupt();
        }
    }

    /// Distributes a packet.
    pub(crate) fn publish(&self, packet: Packet) {
        let mut state = self.state.lock();
        if packet.epoch != state.epoch {
            state.begin_epoch(packet.epoch);
        }
        if !state.takes(&packet) {
            return;
        }
        state.keep(&packet);
        let has_video = state.may_have_video(&packet);
        for queue in state.queues.iter().filter_map(Weak::upgrade) {
            queue.push(packet.clone(), has_video);
        }
    }

    /// Whether there was a packet.
    pub(super) fn has_begun(&self) -> bool {
        self.state.lock().epoch > 0
    }

    /// The codecs of Enhanced RTMP in the stream so far.
    pub(crate) fn enhanced_codecs(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut names: Vec<_> = state
            .descriptions
            .iter()
            .filter_map(|packet| Some(packet.codec_name()?.to_owned()))
            .collect();
        names.dedup();
        names
    }

    /// A codec of which the media server does not send the media, or the configuration that
    /// decoders need.
    pub(crate) fn withheld_codec(&self) -> Option<String> {
        self.state.lock().withheld.clone()
    }
}

impl State {
    fn begin_epoch(&mut self, epoch: u64) {
        *self = Self {
            epoch,
            queues: std::mem::take(&mut self.queues),
            ..Self::default()
        };
    }

    /// Whether a packet is no description beyond the limits: outputs keep descriptions too.
    fn takes(&self, packet: &Packet) -> bool {
        let is_known = || {
            self.descriptions
                .iter()
                .any(|kept| kept.role == packet.role)
        };
        !packet.is_description()
            || packet.payload.len() <= MAX_DESCRIPTION_BYTES
                && (self.descriptions.len() < MAX_HEADERS || is_known())
    }

    fn keep(&mut self, packet: &Packet) {
        self.has_video |= packet.is_video();
        if packet.role == Role::Metadata {
            self.announced_video = packet.announced_video();
        }
        match packet.role {
            Role::Metadata | Role::Header(_) => self.keep_description(packet),
            Role::Keyframe => {
                self.check_configuration(packet);
                self.group.clear();
                self.group_bytes = 0;
                self.keep_in_group(packet);
            }
            _ if self.group.is_empty() => {}
            _ => self.keep_in_group(packet),
        }
    }

    fn keep_description(&mut self, packet: &Packet) {
        self.descriptions.retain(|kept| kept.role != packet.role);
        self.descriptions.push(packet.clone());
        if packet.codec_name() == self.withheld.as_deref() {
            self.withheld = None;
        }
        // A group of pictures before a new configuration cannot be decoded with it.
        if packet.is_video() {
            self.group.clear();
            self.group_bytes = 0;
        }
    }

    /// Keeps a packet for new outputs; without the whole group, these begin at the next one.
    fn keep_in_group(&mut self, packet: &Packet) {
        self.group_bytes += packet.payload.len();
        let first = self.group.first();
        let length_ms = first.map_or(0, |first| packet.timestamp.wrapping_sub(first.timestamp));
        // Audio may be a little older than the keyframe before it.
        let is_too_long = length_ms.cast_signed() > MAX_GROUP_MS.cast_signed();
        if self.group_bytes > MAX_GROUP_BYTES
            || self.group.len() == MAX_GROUP_PACKETS
            || is_too_long
        {
            self.group.clear();
            self.group_bytes = 0;
            return;
        }
        self.group.push(packet.clone());
    }

    /// All codecs of Enhanced RTMP but `vp08` have a configuration.
    fn check_configuration(&mut self, keyframe: &Packet) {
        let configured = |kept: &Packet| kept.is_video() && kept.four_cc == keyframe.four_cc;
        if let Some(name) = keyframe.codec_name()
            && name != "vp08"
            && !self.descriptions.iter().any(configured)
        {
            self.withheld.get_or_insert_with(|| name.to_owned());
        }
    }

    /// Whether outputs should wait for a keyframe.
    fn may_have_video(&mut self, packet: &Packet) -> bool {
        if self.has_video || packet.role != Role::Audio {
            return true;
        }
        let first = *self.first_audio.get_or_insert(packet.timestamp);
        let wait = match self.announced_video {
            Some(_) => ANNOUNCED_VIDEO_WAIT_MS,
            None => VIDEO_WAIT_MS,
        };
        let is_waiting = packet.timestamp.wrapping_sub(first) < wait;
        if let (false, Some(AnnouncedVideo::Enhanced(codec))) = (is_waiting, &self.announced_video)
        {
            self.withheld.get_or_insert_with(|| codec.clone());
        }
        is_waiting
    }
}
