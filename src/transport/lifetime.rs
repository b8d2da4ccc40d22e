use std::{pin::pin, time::Duration};

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Instant, sleep_until, timeout};

use super::{connection::Connection, connection_metrics::CloseCause};
use crate::{random::random_fraction, telemetry::metrics::SERVER};

/// How long the other calls of a connection whose peer does not read have to finish.
const UNREAD_GRACE: Duration = Duration::from_secs(1);

/// The grace of a connection on which no call has succeeded: for a call that has just begun.
const UNUSED_GRACE: Duration = Duration::from_secs(1);

/// The grace of a connection that is misused: for sending GOAWAY.
const MISUSE_GRACE: Duration = Duration::from_millis(200);

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionTimeouts {
    /// For TLS and the protocol preface together.
    pub handshake: Duration,
    /// Age at which the connection closes gracefully, ±10 %; zero means never.
    pub max_age: Duration,
    /// For the calls in flight after that.
    pub max_age_grace: Duration,
    /// Time without a call; zero means no limit.
    pub idle: Duration,
    /// The same until a first call has succeeded, if it is shorter. Trusted proxies are exempt.
    pub unused: Duration,
    /// Silence before the server sends an HTTP/2 PING.
    pub keepalive_interval: Duration,
    /// For the answer to that PING.
    pub keepalive_timeout: Duration,
    /// For a frame or a header block to be complete once its first bytes have arrived.
    pub frame: Duration,
    /// For the next part of a response to be read.
    pub response_read: Duration,
}

/// Serves a connection until it ends or has to end. Then it accepts no more calls, and
/// the calls in flight get the grace. When the server closes there is no limit here: the
/// server cuts the connection at its drain timeout. A peer that does not read or violates
/// limits meanwhile loses the connection without a grace.
pub(super) async fn serve<C: GracefulConnection>(
    http: C,
    connection: &Connection,
    timeouts: &ConnectionTimeouts,
) {
    let mut http = pin!(http);
    let mut unread = pin!(abandon_unread(connection, timeouts.response_read));
    let cause = tokio::select! {
        _ = &mut http => return,
        () = connection.misused() => Some(CloseCause::Misuse),
        cause = close_cause(connection, timeouts) => cause,
        () = &mut unread => Some(CloseCause::Unread),
    };

    // First, so that watches end with a status.
    connection.closing().cancel();
    http.as_mut().graceful_shutdown();
    if let Some(cause) = cause {
        connection.count_close(cause);
    }
    let grace = match cause {
        None => Duration::MAX,
        Some(CloseCause::Unread) => UNREAD_GRACE,
        Some(CloseCause::Unused) => UNUSED_GRACE,
        Some(CloseCause::Misuse) => MISUSE_GRACE,
        Some(_) => timeouts.max_age_grace,
    };
    tokio::select! {
        _ = timeout(grace, http) => {}
        () = unread, if cause != Some(CloseCause::Unread) => {
            connection.count_close(CloseCause::Unread);
        }
        () = connection.misused(), if cause != Some(CloseCause::Misuse) => {
            connection.count_close(CloseCause::Misuse);
        }
    }
}

/// Abandons the responses that the peer does not read. Returns when the connection has to
/// end for that; a trusted proxy carries the calls of others, so it loses only the calls.
async fn abandon_unread(connection: &Connection, limit: Duration) {
    loop {
        connection.check_requested().await;
        let mut next = Instant::now() + limit;
        loop {
            sleep_until(next).await;
            let check = connection.check_unread(limit);
            if check.abandoned > 0 {
                SERVER.responses_unread.inc_by(check.abandoned as u64);
                if !connection.is_of_trusted_proxy() {
                    return;
                }
            }
            match check.oldest {
                Some(oldest) => next = oldest + limit,
                None => break,
            }
        }
    }
}

/// Waits until the connection has to end. Returns why; `None` if the server closes.
async fn close_cause(connection: &Connection, timeouts: &ConnectionTimeouts) -> Option<CloseCause> {
    let age = timeouts.max_age.mul_f64(0.9 + 0.2 * random_fraction());
    let age_end = (!timeouts.max_age.is_zero()).then(|| connection.opened_at() + age);
    loop {
        let idle_end = || {
            let (timeout, cause) = idle_timeout(connection, timeouts)?;
            Some((connection.idle_since() + timeout, cause))
        };
        let next_idle_end = idle_end().map(|(end, _)| end);
        let Some(next) = age_end.into_iter().chain(next_idle_end).min() else {
            connection.closing().cancelled().await;
            return None;
        };
        tokio::select! {
            biased;
            () = connection.closing().cancelled() => return None,
            () = sleep_until(next) => {}
        }
        if age_end.is_some_and(|end| end <= next) {
            return Some(CloseCause::MaxAge);
        }
        if let Some((end, cause)) = idle_end()
            && end <= next
        {
            return Some(cause);
        }
    }
}

/// How long the connection may be without a call, and the cause for which it is then closed.
/// `None` if there is no limit.
fn idle_timeout(
    connection: &Connection,
    timeouts: &ConnectionTimeouts,
) -> Option<(Duration, CloseCause)> {
    let idle = (!timeouts.idle.is_zero()).then_some((timeouts.idle, CloseCause::Idle));
    if connection.has_served_call() || connection.is_of_trusted_proxy() {
        return idle;
    }
    match idle {
        Some((timeout, _)) if timeout <= timeouts.unused => idle,
        _ => Some((timeouts.unused, CloseCause::Unused)),
    }
}
