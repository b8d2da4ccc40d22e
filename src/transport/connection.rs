use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tower::Service;

use super::{
    call_hook::{CallHook, HookedBody, HookedCall},
    connection_limits::ConnectionLimiter,
};

/// The number of violations of limits after which a connection is closed.
const MAX_VIOLATIONS: usize = 16;

/// A connection; in the extensions of each request that comes over it.
#[derive(Debug, Clone)]
pub struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    peer: IpAddr,
    closing: CancellationToken,
    /// Cancelled after too many violations.
    misused: CancellationToken,
    violations: AtomicUsize,
    limiter: Arc<ConnectionLimiter>,
    /// Set once a media server or a relay worker has authenticated.
    is_of_machine: OnceLock<()>,
    opened_at: Instant,
    calls_in_flight: AtomicUsize,
    /// Milliseconds from `opened_at` to the end of the last call.
    last_call_end: AtomicU64,
}

impl Connection {
    /// A connection that opens now, and closes with the server at the latest.
    pub(super) fn open(
        peer: IpAddr,
        limiter: Arc<ConnectionLimiter>,
        server_closing: &CancellationToken,
    ) -> Self {
        Self(Arc::new(State {
            peer,
            closing: server_closing.child_token(),
            misused: CancellationToken::new(),
            violations: AtomicUsize::new(0),
            limiter,
            is_of_machine: OnceLock::new(),
            opened_at: Instant::now(),
            calls_in_flight: AtomicUsize::new(0),
            last_call_end: AtomicU64::new(0),
        }))
    }

    /// The address of the peer: the caller, or a proxy.
    pub fn peer(&self) -> IpAddr {
        self.0.peer
    }

    /// A number that no other open connection has.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Counts a violation of a limit, for example a request that did not arrive in time. At
    /// the sixteenth the connection is closed.
    pub fn record_violation(&self) {
        let earlier = self.0.violations.fetch_add(1, Ordering::Relaxed);
        if earlier + 1 >= MAX_VIOLATIONS {
            self.0.misused.cancel();
        }
    }

    /// Records that a media server or a relay worker has authenticated on this connection, so
    /// that its address gets connections when others get none.
    pub fn record_machine(&self) {
        self.0
            .is_of_machine
            .get_or_init(|| self.0.limiter.record_machine(self.0.peer));
    }

    /// Waits until the connection must be closed because its peer misuses it.
    pub(super) async fn misused(&self) {
        self.0.misused.cancelled().await;
    }

    /// Cancelled when streaming responses must end so that the connection can close.
    pub fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// The [`closing`](Self::closing) token of the request's connection. It is never
    /// cancelled for a request that came through no [`Listener`](super::Listener).
    pub fn closing_of<T>(request: &Request<T>) -> CancellationToken {
        let connection = request.extensions().get::<Self>();
        connection.map_or_else(CancellationToken::new, |one| one.closing().clone())
    }

    /// Counts a call as in flight until the guard is dropped.
    fn begin_call(&self) -> CallGuard {
        self.0.calls_in_flight.fetch_add(1, Ordering::Relaxed);
        CallGuard(self.clone())
    }

    /// Since when no call has been in flight; now, if one is.
    pub(super) fn idle_since(&self) -> Instant {
        if self.0.calls_in_flight.load(Ordering::Acquire) > 0 {
            return Instant::now();
        }
        self.0.opened_at + Duration::from_millis(self.0.last_call_end.load(Ordering::Relaxed))
    }

    /// When the connection was opened.
    pub(super) fn opened_at(&self) -> Instant {
        self.0.opened_at
    }
}

/// A call in flight, until dropped.
#[derive(Debug)]
pub(super) struct CallGuard(Connection);

impl CallHook for CallGuard {}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let state = &*self.0.0;
        let now = state.opened_at.elapsed().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        state.last_call_end.store(now, Ordering::Relaxed);
        state.calls_in_flight.fetch_sub(1, Ordering::Release);
    }
}

/// Counts the calls in flight of a connection, and puts the connection into the
/// extensions of each request.
#[derive(Debug, Clone)]
pub(super) struct TrackCalls<S> {
    pub inner: S,
    pub connection: Connection,
}

impl<S, B, R> Service<http::Request<B>> for TrackCalls<S>
where
    S: Service<http::Request<B>, Response = Response<R>>,
{
    type Response = Response<HookedBody<R, CallGuard>>;
    type Error = S::Error;
    type Future = HookedCall<S::Future, CallGuard>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        HookedCall::new(self.inner.call(request), self.connection.begin_call())
    }
}
