use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use hyper::body::Bytes;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::{either::Either, sync::CancellationToken};

use super::{
    call_tracking::TrackCalls,
    connection::Connection,
    connection_limits::{
        ConnectionLimiter, ConnectionLimits, ConnectionPermit, LimitReached, raise_open_file_limit,
    },
    connection_metrics::{CloseCause, ConnectionMetrics},
    handshake::{PendingHandshake, PendingHandshakes, Protocol, Stream, handshake},
    http::{HttpService, http1, http2},
    http1_refusal,
    http2_io::Http2Io,
    lifetime::{self, ConnectionTimeouts},
    peer::{Peer, TrustedProxy},
    prefixed_stream::PrefixedStream,
    socket::{BoundSocket, SocketStream, tune},
    tls::{ReloadableTls, TlsFiles},
};
use crate::telemetry::{Throttle, metrics::SERVER};

/// The least time between two log lines about connections that are not accepted.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after a failed accept, most often for lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The settings of a [`Listener`].
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// The maximum numbers of connections.
    pub limits: ConnectionLimits,
    /// The time limits of each connection.
    pub timeouts: ConnectionTimeouts,
    /// The maximum number of concurrent calls of a connection.
    pub max_connection_calls: u32,
    /// Proxies, whose connections carry the calls of many callers: they are exempt from the limits
    /// of an address.
    pub trusted_proxies: Arc<[TrustedProxy]>,
    /// The TLS files; without them connections are plain TCP. Unix sockets are always plain.
    pub tls: Option<TlsFiles>,
    /// Whether HTTP/1.1 is accepted, for browsers. Otherwise a sentence refuses it.
    pub http1: bool,
}

/// Accepts connections and serves their calls.
pub struct Listener {
    sockets: Vec<BoundSocket>,
    /// The socket that is asked first for the next connection.
    next_socket: usize,
    limiter: Arc<ConnectionLimiter>,
    handshakes: Arc<PendingHandshakes>,
    tls: Option<Arc<ReloadableTls>>,
    settings: ListenerSettings,
    metrics: Arc<ConnectionMetrics>,
    accept_errors: Throttle,
    refusals: Throttle,
}

impl Listener {
    /// A listener on bound sockets. Raises the limit of open files to the hard limit, and
    /// fails if the certificate is unusable.
    pub fn new(sockets: Vec<BoundSocket>, mut settings: ListenerSettings) -> anyhow::Result<Self> {
        let files = raise_open_file_limit();
        let half = u32::try_from(files / 2).unwrap_or(u32::MAX);
        let limits = &mut settings.limits;
        limits.total = limits.total.min(half);
        tracing::info!(files, connections = limits.total, "limits");
        SERVER.connections_limit.set(limits.total.into());

        let alpn_protocols: Vec<&[u8]> = vec![b"h2", b"http/1.1"];
        let open = |files| ReloadableTls::open(files, alpn_protocols).map(Arc::new);
        Ok(Self {
            sockets,
            next_socket: 0,
            limiter: ConnectionLimiter::new(settings.limits, Arc::clone(&settings.trusted_proxies)),
            // Three quarters of the connections remain for callers.
            handshakes: PendingHandshakes::new(settings.limits.total / 4),
            tls: settings.tls.clone().map(open).transpose()?,
            settings,
            metrics: Arc::default(),
            accept_errors: Throttle::new(LOG_INTERVAL),
            refusals: Throttle::new(LOG_INTERVAL),
        })
    }

    /// The counts of connections.
    pub fn metrics(&self) -> Arc<ConnectionMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Serves until `closing` is cancelled, then until the last connection has ended. Drop
    /// the future to cut the remaining connections.
    pub async fn serve(mut self, service: impl HttpService, closing: CancellationToken) {
        let mut tasks = JoinSet::new();
        if let Some(tls) = &self.tls {
            tasks.spawn(Arc::clone(tls).keep_current());
        }
        let server = Arc::new(ConnectionServer {
            service,
            closing: closing.clone(),
            tls: self.tls.clone(),
            timeouts: self.settings.timeouts,
            max_calls: self.settings.max_connection_calls,
            http1: self.settings.http1,
            metrics: self.metrics(),
        });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer, &server, &mut connections),
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
        // Frees the addresses at once, for another server.
        drop(self.sockets);
        while connections.join_next().await.is_some() {}
    }

    /// Accepts a connection of any socket. They take turns, so that none starves another.
    async fn accept(&mut self) -> io::Result<(SocketStream, Peer)> {
        self.handshakes.wait_for_room().await;
        let (sockets, next) = (&self.sockets, &mut self.next_socket);
        poll_fn(|cx| {
            for offset in 0..sockets.len() {
                let index = (*next + offset) % sockets.len();
                if let Poll::Ready(accepted) = sockets[index].poll_accept(cx) {
                    *next = index + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn admit(
        &mut self,
        stream: SocketStream,
        peer: Peer,
        server: &Arc<ConnectionServer<impl HttpService>>,
        connections: &mut JoinSet<()>,
    ) {
        match self.limiter.acquire(peer) {
            Ok(permit) => {
                self.metrics.opened();
                let pending = self.handshakes.begin();
                let server = Arc::clone(server);
                connections.spawn(async move {
                    server.serve(stream, permit, pending).await;
                    server.metrics.closed();
                });
            }
            Err(limit) => self.refuse(peer, limit),
        }
    }

    fn refuse(&mut self, peer: Peer, limit: LimitReached) {
        match limit {
            LimitReached::Total => CloseCause::TotalLimit.count(),
            LimitReached::Address => CloseCause::AddressLimit.count(),
            LimitReached::Anonymous => CloseCause::AnonymousLimit.count(),
            LimitReached::Pace => CloseCause::PaceLimit.count(),
        }
        if let Some(times) = self.refusals.record() {
            tracing::warn!(times, last = %peer, ?limit, "connections refused: limit reached");
        }
    }

    async fn accept_failed(&mut self, error: &io::Error) {
        // These concern one peer that has left; other errors would recur at once.
        let peer_errors = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::Interrupted,
        ];
        if peer_errors.contains(&error.kind()) {
            return;
        }
        if let Some(times) = self.accept_errors.record() {
            tracing::error!(%error, times, "cannot accept connections");
        }
        sleep(ACCEPT_RETRY_DELAY).await;
    }
}

/// Serves single connections.
struct ConnectionServer<S> {
    service: S,
    closing: CancellationToken,
    tls: Option<Arc<ReloadableTls>>,
    timeouts: ConnectionTimeouts,
    max_calls: u32,
    http1: bool,
    metrics: Arc<ConnectionMetrics>,
}

impl<S: HttpService> ConnectionServer<S> {
    /// Serves a connection to its end.
    async fn serve(
        &self,
        stream: SocketStream,
        permit: ConnectionPermit,
        pending: PendingHandshake,
    ) {
        let opened = self.handshake(stream, permit.turn(), pending).await;
        let Some((stream, prefix, protocol)) = opened else {
            return;
        };
        let connection = Connection::open(permit, &self.closing);
        let service = TowerToHyperService::new(TrackCalls {
            inner: self.service.clone(),
            connection: connection.clone(),
            max_calls: self.max_calls as usize,
        });
        let timeouts = &self.timeouts;
        match protocol {
            Protocol::Http2 => {
                let stream = Http2Io::new(stream, connection.clone(), timeouts);
                let stream = TokioIo::new(PrefixedStream::new(stream, prefix));
                let http = http2(timeouts, self.max_streams(&connection));
                let http = http.serve_connection(stream, service);
                lifetime::serve(http, &connection, timeouts).await;
            }
            Protocol::Http1 => {
                let stream = TokioIo::new(PrefixedStream::new(stream, prefix));
                let http = http1().serve_connection(stream, service);
                // Boxed, so that the many HTTP/2 connections need no memory for it.
                Box::pin(lifetime::serve(http, &connection, timeouts)).await;
            }
        }
    }

    /// The number of concurrent calls that HTTP/2 announces. A client that it holds back says
    /// nothing to its caller, so it is more than the maximum: calls in between are refused
    /// with a reason. A proxy does not wait but opens another connection.
    fn max_streams(&self, connection: &Connection) -> u32 {
        match connection.is_of_trusted_proxy() {
            true => self.max_calls,
            false => self.max_calls.saturating_mul(2),
        }
    }

    /// Completes the handshake, once it is the turn of the connection. `None` if it fails, takes too long, leads to a protocol
    /// that is not accepted, is evicted, or the server closes.
    async fn handshake(
        &self,
        stream: SocketStream,
        turn: Instant,
        pending: PendingHandshake,
    ) -> Option<(Stream, Bytes, Protocol)> {
        tune(&stream).ok()?;
        // Boxed: its memory is free again during the long life of the connection.
        let handshake = Box::pin(async {
            sleep_until(turn).await;
            let is_tcp = matches!(stream, Either::Left(_));
            let tls = self.tls.as_deref().filter(|_| is_tcp);
            handshake(stream, tls).await
        });
        let completed = tokio::select! {
            biased;
            () = self.closing.cancelled() => return None,
            () = pending.evicted() => {
                CloseCause::HandshakeEvicted.count();
                return None;
            }
            completed = timeout_at(turn + self.timeouts.handshake, handshake) => completed,
        };
        match completed {
            Ok(Ok((stream, prefix, Protocol::Http1))) if !self.http1 => {
                if http1_refusal::is_http1(&prefix) {
                    Box::pin(http1_refusal::refuse(stream, &prefix)).await;
                }
            }
            Ok(Ok(opened)) => return Some(opened),
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
        CloseCause::HandshakeFailed.count();
        None
    }
}
