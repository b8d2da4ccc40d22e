//! What a watch shows, from two sources: WatchProject for changes, and polls for what is no change
//! of a project (statistics, refusals).

use std::{cell::RefCell, convert::Infallible, time::Duration};

use tokio::{
    sync::mpsc::Sender,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use super::super::{
    error::{ClientError, ExitClass},
    refusals, relays,
    session::{Session, is_refused_token},
    streams,
};
use crate::{backoff::Backoff, proto::v1 as pb};

const RECONNECT_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(500), Duration::from_secs(15));

/// The server sends a heartbeat every 10 seconds by default. After this time without any message
/// the connection is taken for broken.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// The number of refusals that are shown.
const REFUSALS: i32 = 5;

/// Something to show.
pub(super) enum Update {
    /// A message of the watch.
    Message(Box<pb::WatchProjectResponse>),
    /// The watch was interrupted, and goes on after the delay.
    Interrupted { sentence: String, delay: Duration },
    /// The statistics of the current stream and its relays.
    Statistics(Box<pb::Stream>, Vec<pb::Relay>),
    /// The last refusals, newest first.
    Refusals(Vec<pb::Refusal>),
}

/// Watches a project after a revision. An interrupted watch goes on after the last revision
/// received, so that no change is missed or repeated. Returns only if the watch cannot go on.
pub(super) async fn follow(
    session: &Session,
    project_id: &str,
    mut revision: i64,
    updates: &Sender<Update>,
) -> Result<Infallible, ClientError> {
    let (mut failures, mut refused) = (0, None);
    // Whether the last token was refused too, without a message in between.
    let mut was_refused = false;
    loop {
        let error = match session.stream_api(refused.as_deref()).await {
            Err(error) if error.exit_code() == ExitClass::Unavailable as u8 => error,
            Err(error) => return Err(error),
            Ok((mut api, token)) => {
                let request = pb::WatchProjectRequest {
                    project_id: project_id.to_owned(),
                    after_revision: revision,
                };
                let status = match api.stream.watch_project(request).await {
                    Ok(messages) => {
                        (failures, was_refused) = (0, false);
                        forward(messages.into_inner(), &mut revision, updates).await
                    }
                    Err(status) => status,
                };
                if is_refused_token(&status) && !was_refused {
                    (refused, was_refused) = (token, true);
                    continue;
                }
                if status.code() == Code::OutOfRange {
                    revision = 0;
                    continue;
                }
                let error = session.error(&status);
                if !is_temporary(&status) {
                    return Err(error);
                }
                error
            }
        };
        failures += 1;
        let delay = RECONNECT_BACKOFF.delay(failures);
        let sentence = error.sentences().join("; ");
        send(updates, Update::Interrupted { sentence, delay }).await;
        sleep(delay).await;
    }
}

/// Forwards messages until the watch ends; returns why it ended.
async fn forward(
    mut messages: tonic::Streaming<pb::WatchProjectResponse>,
    revision: &mut i64,
    updates: &Sender<Update>,
) -> Status {
    loop {
        match timeout(MAX_SILENCE, messages.message()).await {
            Ok(Ok(Some(message))) => {
                *revision = message.revision;
                send(updates, Update::Message(Box::new(message))).await;
            }
            Ok(Ok(None)) => return Status::unavailable("the watch has ended"),
            Ok(Err(status)) => return status,
            Err(_) => return Status::unavailable("the server has sent no heartbeat"),
        }
    }
}

/// Whether a watch that ended with this status can be resumed.
fn is_temporary(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::ResourceExhausted
            | Code::Unknown
    )
}

/// Reads, at this interval, what WatchProject does not send. A failed read is left out: the watch
/// reports what is wrong.
pub(super) async fn poll(
    session: &Session,
    project_id: &str,
    stream_id: &RefCell<Option<String>>,
    interval: Duration,
    updates: &Sender<Update>,
) -> Infallible {
    loop {
        let page = refusals::page(session, project_id.to_owned(), REFUSALS, String::new());
        if let Ok(page) = page.await {
            send(updates, Update::Refusals(page.refusals)).await;
        }
        let current = stream_id.borrow().clone();
        if let Some(stream_id) = current
            && let Ok(stream) = streams::get(session, stream_id.clone()).await
            && let Ok(answer) = relays::list(session, stream_id).await
        {
            send(updates, Update::Statistics(Box::new(stream), answer.relays)).await;
        }
        sleep(interval).await;
    }
}

/// Nobody receives only after the command has ended.
async fn send(updates: &Sender<Update>, update: Update) {
    let _ = updates.send(update).await;
}
