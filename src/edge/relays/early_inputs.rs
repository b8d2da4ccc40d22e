use std::{convert::Infallible, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    media::{Input, InputSource},
    relay::RelayContext,
};
use crate::edge::publisher::AcceptedStream;

/// Begins to play streams when their publishers are accepted, before they are live and relays
/// are assigned.
///
/// So outputs begin with the keyframes that have passed by then. The publisher is accepted when
/// the media server has answered, so that its first keyframe is among them.
///
/// Held relays continue with the play session that they have, so that this one is not needed, and
/// closed soon: the policy is not known before the assignment.
pub(super) async fn play_early(
    mut accepted: mpsc::Receiver<AcceptedStream>,
    context: Arc<RelayContext>,
) -> Infallible {
    let mut starting = JoinSet::new();
    loop {
        tokio::select! {
            Some(stream) = accepted.recv() => {
                let (source, unplayed) = source(stream);
                // A URL that cannot be played fails the relays, which tell why.
                if let Ok(input) = context.inputs.get(source) {
                    starting.spawn(play_first(Arc::clone(&input), unplayed));
                    context.inputs.keep(input);
                }
            }
            Some(_) = starting.join_next() => {}
            else => std::future::pending().await,
        }
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
