use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{input::Input, output_queue::OutputQueue, packet::Packet};
use crate::edge::relays::relay_failure::RelayFailure;

/// The media that one output receives. Its input can be replaced by that of another publishing
/// connection while the output stays connected.
#[derive(Debug)]
pub(crate) struct Subscription {
    state: Mutex<State>,
    /// How much later the media is sent.
    delay: Duration,
    /// Whether the output has to bridge the time without media.
    holds: AtomicBool,
    /// Whether the stream has ended.
    has_ended: AtomicBool,
    /// What the output sends now to bridge it: descriptions and a keyframe.
    held: Mutex<Vec<Packet>>,
}

#[derive(Debug)]
struct State {
    input: Arc<Input>,
    /// What the output has not sent yet; `None` before it is ready to send.
    queue: Option<Arc<OutputQueue>>,
}

impl Subscription {
    pub(crate) fn new(input: Arc<Input>, delay: Duration, holds: bool) -> Self {
        Self {
            state: Mutex::new(State { input, queue: None }),
            delay,
            holds: AtomicBool::new(holds),
            has_ended: AtomicBool::new(false),
            held: Mutex::default(),
        }
    }

    /// Begins to receive media, for another connection too. A delayed queue is kept over
    /// connections: what it holds back is sent on the next one.
    pub(crate) fn subscribe(&self) -> Arc<OutputQueue> {
        let mut state = self.state.lock();
        if let Some(delayed) = state.queue.take_if(|queue| queue.restart()) {
            return Arc::clone(state.queue.insert(delayed));
        }
        let queue = state.input.subscribe(self.delay);
        if self.has_ended() {
            queue.end();
        }
        state.queue = Some(Arc::clone(&queue));
        queue
    }

    /// Continues with the media of an input.
    pub(crate) fn follow(&self, input: Arc<Input>) {
        let mut state = self.state.lock();
        if Arc::ptr_eq(&state.input, &input) {
            return;
        }
        if let Some(queue) = &state.queue {
            state.input.unsubscribe(queue);
            queue.interrupt();
            input.attach(queue);
        }
        state.input = input;
    }

    /// The stream has ended: only what is held back is sent any more, and what its publisher has
    /// sent last.
    pub(crate) fn end(&self) {
        self.set_holds(false);
        self.has_ended.store(true, Ordering::Relaxed);
        if let Some(queue) = &self.state.lock().queue {
            queue.end();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Whether the stream has ended, and the output has sent all of it.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        self.has_ended() && state.queue.as_ref().is_none_or(|queue| queue.is_drained())
    }

    fn input(&self) -> Arc<Input> {
        Arc::clone(&self.state.lock().input)
    }

    /// The play session at present: the input, or what it is a rendition of.
    pub(crate) fn played(&self) -> Arc<Input> {
        let input = self.input();
        input
            .source()
            .map_or_else(|| Arc::clone(&input), Arc::clone)
    }

    pub(crate) fn set_holds(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
    }

    pub(crate) fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    /// Keeps what the output sends without media, for another connection; none when it has media.
    pub(crate) fn keep_held(&self, packets: Vec<Packet>) {
        *self.held.lock() = packets;
    }

    /// What the connection before has sent without media, if it was lost meanwhile.
    pub(crate) fn take_held(&self) -> Vec<Packet> {
        std::mem::take(&mut *self.held.lock())
    }

    /// Why there is no media now.
    pub(crate) fn failure(&self) -> Option<RelayFailure> {
        self.input().failure()
    }

    /// A failure that no other attempt can avoid.
    pub(crate) fn codec_failure(&self) -> Option<RelayFailure> {
        self.input().codec_failure()
    }

    /// The codecs of Enhanced RTMP in the stream so far.
    pub(crate) fn enhanced_codecs(&self) -> Vec<String> {
        self.input().enhanced_codecs()
    }
}
