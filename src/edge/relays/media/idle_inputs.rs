use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::input::Input;

/// How long a play session waits for a relay. Streams are live within seconds of their
/// publishers, and a relay that has broadcast is tried again within 2 seconds.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// The most play sessions that wait. Each keeps the current group of pictures.
const MAX_WAITING: usize = 32;

/// Play sessions that no relay needs now, and one will need soon.
///
/// A relay begins with the keyframes that have passed on its play session. With a new session it
/// waits for the next one: with nginx-rtmp a second on average at a keyframe interval of
/// 2 seconds.
#[derive(Debug, Default)]
pub(super) struct IdleInputs {
    /// With the times at which they are closed, oldest first.
    waiting: Mutex<VecDeque<(Instant, Arc<Input>)>>,
}

impl IdleInputs {
    /// Keeps a play session open for [`MAX_WAIT`] from now on.
    pub(super) fn keep(&self, input: Arc<Input>, now: Instant) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|(_, other)| !Arc::ptr_eq(other, &input));
        if waiting.len() == MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((now + MAX_WAIT, input));
    }

    /// Closes those whose time is over, unless relays use them.
    pub(super) fn close_overdue(&self, now: Instant) {
        let mut waiting = self.waiting.lock();
        let overdue = waiting.partition_point(|(end, _)| *end <= now);
        waiting.drain(..overdue);
    }
}
