use std::{pin::pin, time::Duration};

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{sleep_until, timeout};

use super::{connection::Connection, connection_metrics::Cause};
use crate::random::random_fraction;

/// How long a connection may take, and last.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// To show what it speaks.
    pub handshake: Duration,
    /// Until it is to be made anew, give or take a tenth; zero means for ever.
    pub age: Duration,
    /// For its calls after that.
    pub grace: Duration,
    /// Without a call; zero means for ever.
    pub idle: Duration,
    /// In silence, until the peer is asked whether it is there.
    pub ping: Duration,
    /// For the answer to that.
    pub pong: Duration,
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// The server closes.
    Closing,
    /// It is old.
    Aged,
    /// Nobody calls.
    Idle,
}

/// Serves a connection until it ends, or is to: then it takes no more calls, and has the
/// grace for those that run. When the server closes, it is the server's to cut it.
pub(super) async fn live<C: GracefulConnection>(http: C, connection: &Connection, times: &Times) {
    let mut http = pin!(http);
    let over = tokio::select! {
        _ = &mut http => return,
        over = over(connection, times) => over,
    };

    // First, so that watches end with a word.
    connection.closing().cancel();
    http.as_mut().graceful_shutdown();
    match over {
        Over::Closing => {
            let _ = http.await;
            return;
        }
        Over::Aged => Cause::Age.count(),
        Over::Idle => Cause::Idle.count(),
    }
    let _ = timeout(times.grace, http).await;
}

async fn over(connection: &Connection, times: &Times) -> Over {
    let age = times.age.mul_f64(0.9 + 0.2 * random_fraction());
    let end = (!times.age.is_zero()).then(|| connection.begun() + age);
    loop {
        let idle = (!times.idle.is_zero()).then(|| connection.rests_since() + times.idle);
        let Some(next) = end.into_iter().chain(idle).min() else {
            connection.closing().cancelled().await;
            return Over::Closing;
        };
        tokio::select! {
            biased;
            () = connection.closing().cancelled() => return Over::Closing,
            () = sleep_until(next) => {}
        }
        if end.is_some_and(|end| end <= next) {
            return Over::Aged;
        }
        if connection.rests_since() + times.idle <= next {
            return Over::Idle;
        }
    }
}
