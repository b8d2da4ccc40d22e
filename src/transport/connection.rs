use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Request;

/// What is known of a connection; in the extensions of each request that comes over it.
#[derive(Debug, Clone)]
pub struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    peer: IpAddr,
    closing: CancellationToken,
    begun: Instant,
    calls: AtomicUsize,
    /// Milliseconds from the beginning to the end of the last call.
    rests_since: AtomicU64,
}

/// A call in flight, until dropped.
#[derive(Debug)]
pub(super) struct Call(Connection);

impl Connection {
    /// A connection of a peer that begins now, and is to end with the server.
    pub(super) fn begin(peer: IpAddr, server_closing: &CancellationToken) -> Self {
        Self(Arc::new(State {
            peer,
            closing: server_closing.child_token(),
            begun: Instant::now(),
            calls: AtomicUsize::new(0),
            rests_since: AtomicU64::new(0),
        }))
    }

    /// Who is at its other end: the caller, or a proxy.
    pub fn peer(&self) -> IpAddr {
        self.0.peer
    }

    /// Cancelled when answers that go on are to end, so that the connection can.
    pub fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// What ends the answer to a request that goes on; nothing does where no
    /// [`Acceptor`](super::Acceptor) listens.
    pub fn closing_of<T>(request: &Request<T>) -> CancellationToken {
        let connection = request.extensions().get::<Self>();
        connection.map_or_else(CancellationToken::new, |one| one.closing().clone())
    }

    /// A call begins.
    pub(super) fn call(&self) -> Call {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }

    /// Since when there is no call in flight; now, if there is one.
    pub(super) fn rests_since(&self) -> Instant {
        if self.0.calls.load(Ordering::Acquire) > 0 {
            return Instant::now();
        }
        self.0.begun + Duration::from_millis(self.0.rests_since.load(Ordering::Relaxed))
    }

    /// When it began.
    pub(super) fn begun(&self) -> Instant {
        self.0.begun
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let State {
            begun,
            calls,
            rests_since,
            ..
        } = &*self.0.0;
        let now = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        rests_since.store(now, Ordering::Relaxed);
        calls.fetch_sub(1, Ordering::Release);
    }
}
