use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use slab::Slab;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::{connection_limits::ConnectionPermit, connection_metrics::CloseCause, peer::Peer};

/// The number of violations of limits after which a connection is closed.
const MAX_VIOLATIONS: usize = 16;

/// A connection; in the extensions of each request that comes over it.
#[derive(Debug, Clone)]
pub struct Connection(Arc<State>);

struct State {
    permit: ConnectionPermit,
    closing: CancellationToken,
    /// Cancelled after too many violations.
    misused: CancellationToken,
    violations: AtomicUsize,
    /// Set once a media server or a relay worker has authenticated.
    is_of_machine: OnceLock<()>,
    opened_at: Instant,
    is_close_counted: AtomicBool,
    calls_in_flight: AtomicUsize,
    has_served_call: AtomicBool,
    /// Milliseconds from `opened_at` to the end of the last call.
    last_call_end: AtomicU64,
    responses: Mutex<Slab<Weak<dyn PendingResponse>>>,
    /// Whether a check of the responses is scheduled, so that new ones need not ask for it.
    is_check_scheduled: AtomicBool,
    check_requested: Notify,
}

/// A response whose body has begun and is not sent completely.
pub(super) trait PendingResponse: Send + Sync {
    /// Since when the peer has taken nothing, although there is something to take. `None`
    /// if nothing waits for the peer.
    fn unread_since(&self) -> Option<Instant>;

    /// Drops the rest of the response and fails it with an error.
    fn abandon(&self);
}

/// What a check of the responses of a connection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnreadCheck {
    /// The number of responses that were abandoned.
    pub abandoned: usize,
    /// Since when the oldest of the others waits for the peer; `None` if none waits.
    pub oldest: Option<Instant>,
}

impl Connection {
    /// A connection that opens now, and closes with the server at the latest.
    pub(super) fn open(permit: ConnectionPermit, server_closing: &CancellationToken) -> Self {
        Self(Arc::new(State {
            permit,
            closing: server_closing.child_token(),
            misused: CancellationToken::new(),
            violations: AtomicUsize::new(0),
            is_of_machine: OnceLock::new(),
            opened_at: Instant::now(),
            is_close_counted: AtomicBool::new(false),
            calls_in_flight: AtomicUsize::new(0),
            has_served_call: AtomicBool::new(false),
            last_call_end: AtomicU64::new(0),
            responses: Mutex::default(),
            is_check_scheduled: AtomicBool::new(false),
            check_requested: Notify::new(),
        }))
    }

    /// The peer: the caller, or a proxy.
    pub fn peer(&self) -> Peer {
        self.0.permit.peer()
    }

    /// Whether the peer is a trusted proxy, whose connection carries the calls of many callers.
    pub fn is_of_trusted_proxy(&self) -> bool {
        self.0.permit.is_exempt()
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

    /// Records that a call had a valid access token: the connection does not count as anonymous
    /// any more.
    pub fn record_authenticated(&self) {
        self.0.permit.record_authenticated();
    }

    /// Records that a media server or a relay worker has authenticated on this connection, so
    /// that its address gets connections when others get none.
    pub fn record_machine(&self) {
        self.0
            .is_of_machine
            .get_or_init(|| self.0.permit.record_machine());
    }

    /// Waits until the connection must be closed because its peer misuses it.
    pub(super) async fn misused(&self) {
        self.0.misused.cancelled().await;
    }

    /// Whether the connection must be closed because its peer misuses it.
    pub(super) fn is_misused(&self) -> bool {
        self.0.misused.is_cancelled()
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

    /// Counts why the server closes the connection: the first cause.
    pub(super) fn count_close(&self, cause: CloseCause) {
        if !self.0.is_close_counted.swap(true, Ordering::Relaxed) {
            cause.count();
        }
    }

    /// Counts a call as in flight until the guard is dropped. Returns also the number of
    /// calls in flight, with this one.
    pub(super) fn begin_call(&self) -> (CallGuard, usize) {
        let before = self.0.calls_in_flight.fetch_add(1, Ordering::Relaxed);
        (CallGuard(self.clone()), before + 1)
    }

    /// Records that a call has succeeded, or has begun to respond without an error.
    pub(super) fn record_served_call(&self) {
        if !self.0.has_served_call.load(Ordering::Relaxed) {
            self.0.has_served_call.store(true, Ordering::Relaxed);
        }
    }

    /// Whether [`record_served_call`](Self::record_served_call) was called.
    pub(super) fn has_served_call(&self) -> bool {
        self.0.has_served_call.load(Ordering::Relaxed)
    }

    /// Since when no call has been in flight; now, if one is.
    pub(super) fn idle_since(&self) -> Instant {
        if self.0.calls_in_flight.load(Ordering::Acquire) > 0 {
            return Instant::now();
        }
        self.instant(self.0.last_call_end.load(Ordering::Relaxed))
    }

    /// When the connection was opened.
    pub(super) fn opened_at(&self) -> Instant {
        self.0.opened_at
    }

    /// The age of the connection in milliseconds.
    pub(super) fn age_millis(&self) -> u64 {
        u64::try_from(self.0.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the connection had this age.
    pub(super) fn instant(&self, age_millis: u64) -> Instant {
        self.0.opened_at + Duration::from_millis(age_millis)
    }

    /// Registers a response, which is made from its key.
    pub(super) fn register<R: PendingResponse + 'static>(
        &self,
        response: impl FnOnce(usize) -> Arc<R>,
    ) -> Arc<R> {
        let mut responses = self.0.responses.lock();
        let entry = responses.vacant_entry();
        let response = response(entry.key());
        let weak: Weak<R> = Arc::downgrade(&response);
        entry.insert(weak);
        response
    }

    /// Removes a response that is over.
    pub(super) fn unregister(&self, key: usize) {
        self.0.responses.lock().remove(key);
    }

    /// Called after a part of a response began to wait for the peer. Costs one load, except
    /// for the first part after a pause.
    pub(super) fn response_waits(&self) {
        let is_scheduled = &self.0.is_check_scheduled;
        if !is_scheduled.load(Ordering::SeqCst) && !is_scheduled.swap(true, Ordering::SeqCst) {
            self.0.check_requested.notify_one();
        }
    }

    /// Waits until a part of a response waits for the peer, after a check that found none.
    pub(super) async fn check_requested(&self) {
        self.0.check_requested.notified().await;
    }

    /// Abandons the responses of which the peer has taken nothing for this time.
    pub(super) fn check_unread(&self, timeout: Duration) -> UnreadCheck {
        // First: a part that the loop below misses then requests the next check.
        let is_scheduled = &self.0.is_check_scheduled;
        is_scheduled.store(false, Ordering::SeqCst);
        let responses: Vec<_> = {
            let responses = self.0.responses.lock();
            responses
                .iter()
                .filter_map(|(_, one)| one.upgrade())
                .collect()
        };
        let (mut abandoned, mut oldest) = (0, None::<Instant>);
        for response in responses {
            let Some(since) = response.unread_since() else {
                continue;
            };
            if since.elapsed() >= timeout {
                response.abandon();
                abandoned += 1;
            } else {
                oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
            }
        }
        if oldest.is_some() {
            is_scheduled.store(true, Ordering::SeqCst);
        }
        UnreadCheck { abandoned, oldest }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("peer", &self.permit.peer())
            .field("calls_in_flight", &self.calls_in_flight)
            .finish_non_exhaustive()
    }
}

/// A call in flight, until dropped.
#[derive(Debug)]
pub(super) struct CallGuard(Connection);

impl CallGuard {
    /// The connection of the call.
    pub fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let now = self.0.age_millis();
        let state = &*self.0.0;
        state.last_call_end.store(now, Ordering::Relaxed);
        state.calls_in_flight.fetch_sub(1, Ordering::Release);
    }
}
