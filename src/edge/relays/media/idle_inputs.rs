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

/// The most streams whose play sessions wait. Each keeps the current group of pictures.
const MAX_WAITING: usize = 32;

/// Play sessions that no relay needs now, and one will need soon.
///
/// A relay begins with the keyframes that have passed on its play session. With a new session it
/// waits for the next one: with nginx-rtmp a second on average at a keyframe interval of
/// 2 seconds.
#[derive(Debug, Default)]
pub(super) struct IdleInputs {
    /// Oldest first.
    waiting: Mutex<VecDeque<IdleInput>>,
}

#[derive(Debug)]
struct IdleInput {
    stream_id: String,
    input: Arc<Input>,
    /// When it is closed.
    end: Instant,
}

impl IdleInputs {
    /// Keeps the play session of a stream open for [`MAX_WAIT`] from now on, instead of another one
    /// of the stream.
    pub(super) fn keep(&self, stream_id: &str, input: Arc<Input>, now: Instant) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|other| other.stream_id != stream_id);
        if waiting.len() == MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(IdleInput {
            stream_id: stream_id.to_owned(),
            input,
            end: now + MAX_WAIT,
        });
    }

    /// Closes those whose time is over, and those that have lost their media: their publishers have
    /// gone. Those that relays use go on.
    pub(super) fn close_overdue(&self, now: Instant) {
        let is_needed = |idle: &IdleInput| idle.end > now && !idle.input.has_lost_media();
        self.waiting.lock().retain(is_needed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Secret,
        edge::{
            media_meters::MediaMeters,
            relays::{media::InputSource, upstream::Certificates},
        },
    };

    /// A play session of a server that does not exist.
    fn input() -> Arc<Input> {
        let source = InputSource {
            stream_id: "s".to_owned(),
            connection_id: "c".to_owned(),
            url: Secret::new("rtmp://127.0.0.1:1/app/name"),
        };
        let certificates = Arc::new(Certificates::new(Vec::new()));
        Arc::new(Input::start(&source, certificates, &MediaMeters::default()).unwrap())
    }

    #[tokio::test]
    async fn an_input_is_kept_for_a_time_from_when_it_was_needed_last() {
        let (idle, input, start) = (IdleInputs::default(), input(), Instant::now());
        let is_kept = || Arc::strong_count(&input) > 1;
        idle.keep("s", Arc::clone(&input), start);
        idle.keep("s", Arc::clone(&input), start + MAX_WAIT / 2);
        idle.close_overdue(start + MAX_WAIT);
        assert!(is_kept());
        idle.close_overdue(start + MAX_WAIT + MAX_WAIT / 2);
        assert!(!is_kept());
    }

    #[tokio::test]
    async fn one_input_of_each_of_the_last_streams_is_kept() {
        let (idle, start) = (IdleInputs::default(), Instant::now());
        let inputs: Vec<_> = (0..=MAX_WAITING).map(|_| input()).collect();
        let kept = || inputs.iter().map(|input| Arc::strong_count(input) > 1);
        idle.keep("first", Arc::clone(&inputs[0]), start);
        for other in &inputs {
            idle.keep("first", Arc::clone(other), start);
        }
        assert_eq!(kept().filter(|is_kept| *is_kept).count(), 1);

        for (number, other) in inputs.iter().enumerate() {
            idle.keep(&number.to_string(), Arc::clone(other), start);
        }
        assert_eq!(kept().filter(|is_kept| *is_kept).count(), MAX_WAITING);
        assert_eq!(kept().next(), Some(false), "the oldest is closed");
    }
}
