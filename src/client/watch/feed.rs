//! What a watch shows: the changes, refusals, issues and statistics of WatchProjects.

use std::{convert::Infallible, time::Duration};

use tokio::{
    sync::mpsc::Sender,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use super::super::{
    error::{ClientError, ExitClass},
    refusals,
    session::{Session, is_refused_token},
};
use crate::{backoff::Backoff, proto::v1 as pb};

const RECONNECT_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(500), Duration::from_secs(15));

/// The server sends a heartbeat every 10 seconds by default, and never later than the upper bound of
/// `SLUICE_WATCH_HEARTBEAT`. After this time without any message the connection is taken for broken.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// The number of earlier refusals that are read at the start and after an interruption.
const EARLIER_REFUSALS: i32 = 5;

/// Something to show.
pub(super) enum Update {
    /// The watch begins, or goes on. The server sends the present issues, if there are any.
    Started,
    /// A message of the watch.
    Message(Box<pb::WatchProjectsResponse>),
    /// The watch was interrupted, and goes on after the delay.
    Interrupted { sentence: String, delay: Duration },
    /// Refusals that may be older than those of the watch, newest first.
    EarlierRefusals(Vec<pb::Refusal>),
}

/// What a watch has besides the changes.
#[derive(Clone, Copy)]
pub(super) struct Extras {
    pub statistics: bool,
    pub earlier_refusals: bool,
}

/// Watches a project after a revision. An interrupted watch goes on after the last revision
/// received, so that no change is missed or repeated. Returns only if the watch cannot go on.
pub(super) async fn follow(
    session: &Session,
    project_id: &str,
    mut revision: i64,
    extras: Extras,
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
                let request = request(project_id, revision, extras);
                let status = match api.stream.watch_projects(request).await {
                    Ok(messages) => {
                        (failures, was_refused) = (0, false);
                        send(updates, Update::Started).await;
                        if extras.earlier_refusals {
                            send_earlier_refusals(session, project_id, updates).await;
                        }
                        forward(messages.into_inner(), &mut revision, updates).await
                    }
                    Err(status) => status,
                };
                if is_refused_token(&status) && !was_refused {
                    (refused, was_refused) = (token, true);
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

fn request(project_id: &str, after_revision: i64, extras: Extras) -> pb::WatchProjectsRequest {
    pb::WatchProjectsRequest {
        projects: vec![pb::WatchedProject {
            project_id: project_id.to_owned(),
            after_revision,
        }],
        with_stats: extras.statistics,
        organization_id: String::new(),
    }
}

/// Sends refusals from before the watch, which itself begins with those of the last minute. A
/// failed read is left out: the watch reports what is wrong.
async fn send_earlier_refusals(session: &Session, project_id: &str, updates: &Sender<Update>) {
    let page = refusals::page(
        session,
        project_id.to_owned(),
        EARLIER_REFUSALS,
        String::new(),
    );
    if let Ok(page) = page.await {
        send(updates, Update::EarlierRefusals(page.refusals)).await;
    }
}

/// Forwards messages until the watch ends; returns why it ended.
async fn forward(
    mut messages: tonic::Streaming<pb::WatchProjectsResponse>,
    revision: &mut i64,
    updates: &Sender<Update>,
) -> Status {
    loop {
        match timeout(MAX_SILENCE, messages.message()).await {
            Ok(Ok(Some(message))) => {
                // Heartbeats have no project, and so no revision.
                if !message.project_id.is_empty() {
                    *revision = message.revision;
                }
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

/// Nobody receives only after the command has ended.
async fn send(updates: &Sender<Update>, update: Update) {
    let _ = updates.send(update).await;
}

#[cfg(test)]
mod tests {
    use super::MAX_SILENCE;
    use crate::config::MAX_WATCH_HEARTBEAT;

    #[test]
    fn a_healthy_watch_is_never_taken_for_broken() {
        let interval = humantime::parse_duration(MAX_WATCH_HEARTBEAT).unwrap();
        assert!(2 * interval < MAX_SILENCE);
    }
}
