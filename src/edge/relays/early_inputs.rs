use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep_until,
};

use super::{
    media::{Input, InputSource},
    relay::RelayContext,
};
use crate::edge::publisher::AcceptedStream;

/// How long a play session waits for a relay: streams are live within seconds.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// The most play sessions that wait.
const MAX_WAITING: usize = 32;

/// Begins to play streams when their publishers are accepted, before they are live and relays
/// are assigned.
///
/// So outputs begin with the keyframes that have passed by then. Otherwise they wait for the next
/// one, with nginx-rtmp a second on average at a keyframe interval of 2 seconds. The publisher is
/// accepted when the media server has answered, so that its first keyframe is among them.
///
/// Held relays continue with the play session that they have, so that this one is not needed. It
/// is closed after [`MAX_WAIT`]: the policy is not known before the assignment.
pub(super) async fn play_early(
    mut accepted: mpsc::Receiver<AcceptedStream>,
    context: Arc<RelayContext>,
) -> Infallible {
    let mut waiting: VecDeque<(Instant, Arc<Input>)> = VecDeque::new();
    let mut starting = JoinSet::new();
    loop {
        let next_end = waiting.front().map(|(end, _)| *end);
        tokio::select! {
            Some(stream) = accepted.recv() => {
                let (source, unplayed) = source(stream);
                // A URL that cannot be played fails the relays, which tell why.
                if let Ok(input) = context.inputs.get(source) {
                    if waiting.len() == MAX_WAITING {
                        waiting.pop_front();
                    }
                    starting.spawn(play_first(Arc::clone(&input), unplayed));
                    waiting.push_back((Instant::now() + MAX_WAIT, input));
                }
            }
            Some(_) = starting.join_next() => {}
            () = until(next_end) => {
                waiting.pop_front();
            }
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until the media server has answered, while the publisher waits for its own answer.
async fn play_first(input: Arc<Input>, mut unplayed: oneshot::Sender<Infallible>) {
    tokio::select! {
        () = input.was_answered() => {}
        () = unplayed.closed() => {}
    }
}

fn source(stream: AcceptedStream) -> (InputSource, oneshot::Sender<Infallible>) {
    let AcceptedStream {
        stream_id,
        connection_id,
        play_url,
        unplayed,
    } = stream;
    let source = InputSource {
        stream_id,
        connection_id,
        url: play_url,
    };
    (source, unplayed)
}
