use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    call_tracking::Tracked,
    coalesced_io::Gathering,
    connection::Connection,
    connection_limits::{Caps, Full, Places},
    connection_metrics::{Cause, Tally},
    executor::CallExecutor,
    handshake::{Protocol, Stream, shake_hands},
    http::{http1, http2},
    http_service::Calls,
    lifetime::{Times, live},
    overload::Pressure,
    pending_handshakes::{Entry, HalfOpen},
    rlimit, socket,
    tls::Tls,
    tls_files::TlsFiles,
};
use crate::telemetry::{Throttle, metrics::LIVE};

/// The least time between two log lines about connections that are not accepted.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// How long not to accept after that failed, most often for want of open files.
const BREATH: Duration = Duration::from_millis(50);

/// On what terms connections are accepted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How many there may be.
    pub caps: Caps,
    /// How long they may take, and last.
    pub times: Times,
    /// Whose connections are not counted by address.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Where the certificate is, if there is to be TLS.
    pub tls: Option<TlsFiles>,
    /// Whether HTTP/1.1 is accepted, for browsers.
    pub http1: bool,
}

/// Accepts connections and serves what calls come over them.
pub struct Acceptor {
    listener: TcpListener,
    places: Arc<Places>,
    half_open: Arc<HalfOpen>,
    tls: Option<Arc<Tls>>,
    terms: Terms,
    tally: Arc<Tally>,
    pressure: Pressure,
    failures: Throttle,
    refusals: Throttle,
}

impl Acceptor {
    /// Accepts from a bound listener. Raises the limit of open files as far as it goes,
    /// and fails if the certificate cannot be used.
    pub fn new(listener: TcpListener, mut terms: Terms) -> anyhow::Result<Self> {
        let files = rlimit::raise();
        let half = u32::try_from(files / 2).unwrap_or(u32::MAX);
        terms.caps.all = terms.caps.all.min(half);
        tracing::info!(files, connections = terms.caps.all, "limits");
        LIVE.connections_limit.set(terms.caps.all.into());

        let mut protocols: Vec<&[u8]> = vec![b"h2"];
        if terms.http1 {
            protocols.push(b"http/1.1");
        }
        let open = |files| Tls::open(files, protocols).map(Arc::new);
        Ok(Self {
            listener,
            places: Places::new(terms.caps, Arc::clone(&terms.trusted_proxies)),
            // So that three quarters are left to those who call.
            half_open: HalfOpen::new(terms.caps.all / 4),
            tls: terms.tls.clone().map(open).transpose()?,
            terms,
            tally: Arc::default(),
            pressure: Pressure::default(),
            failures: Throttle::new(LOG_INTERVAL),
            refusals: Throttle::new(LOG_INTERVAL),
        })
    }

    /// What becomes of connections, counted.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// What is to be felt when a call is refused for being one too many.
    pub fn pressure(&self) -> Pressure {
        self.pressure.clone()
    }

    /// Serves until told to close, then until the last connection has ended. Dropped
    /// before, it cuts them all.
    pub async fn serve(mut self, service: impl Calls, closing: CancellationToken) {
        let mut helpers = JoinSet::new();
        if let Some(tls) = &self.tls {
            helpers.spawn(Arc::clone(tls).keep_current());
        }
        let accepting = Accepting {
            service,
            closing: closing.clone(),
            tls: self.tls.clone(),
            times: self.terms.times,
            http1: self.terms.http1,
            tally: self.tally(),
            pressure: self.pressure(),
        };
        let accepting = Arc::new(accepting);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer, &accepting, &mut connections),
                    Err(error) => self.failed(&error).await,
                },
            }
        }
        // Its port is free for another server at once.
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.half_open.room().await;
        self.listener.accept().await
    }

    fn take(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        accepting: &Arc<Accepting<impl Calls>>,
        connections: &mut JoinSet<()>,
    ) {
        match self.places.take(peer.ip()) {
            Ok(place) => {
                self.tally.accept();
                let entry = self.half_open.enter();
                let accepting = Arc::clone(accepting);
                connections.spawn(async move {
                    accepting.serve(stream, peer.ip(), entry).await;
                    accepting.tally.end();
                    drop(place);
                });
            }
            Err(full) => self.refused(peer, full),
        }
    }

    fn refused(&mut self, peer: SocketAddr, full: Full) {
        match full {
            Full::All => Cause::Full.count(),
            Full::Address => Cause::Address.count(),
        }
        if let Some(times) = self.refusals.record() {
            tracing::warn!(times, last = %peer.ip(), ?full, "refused connections, there are too many");
        }
    }

    async fn failed(&mut self, error: &io::Error) {
        // These concern a peer that has gone again; all else would fail again at once.
        let gone = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::Interrupted,
        ];
        if gone.contains(&error.kind()) {
            return;
        }
        if let Some(times) = self.failures.record() {
            tracing::error!(%error, times, "cannot accept connections");
        }
        sleep(BREATH).await;
    }
}

/// What every connection is served with.
pub(super) struct Accepting<S> {
    pub service: S,
    pub closing: CancellationToken,
    pub tls: Option<Arc<Tls>>,
    pub times: Times,
    pub http1: bool,
    pub tally: Arc<Tally>,
    pub pressure: Pressure,
}

impl<S: Calls> Accepting<S> {
    /// Serves a connection to its end.
    pub async fn serve(&self, stream: TcpStream, peer: IpAddr, entry: Entry) {
        let Some((stream, protocol)) = self.open(stream, entry).await else {
            return;
        };
        let connection = Connection::begin(peer, &self.closing);
        let service = TowerToHyperService::new(Tracked {
            inner: self.service.clone(),
            connection: connection.clone(),
        });
        let stream = TokioIo::new(Gathering::new(stream, self.pressure.clone()));
        let times = &self.times;
        match protocol {
            Protocol::Http2 => {
                let pressure = self.pressure.clone();
                let http = http2(times, CallExecutor { pressure });
                let http = http.serve_connection(stream, service);
                live(http, &connection, times).await;
            }
            Protocol::Http1 => {
                let http = http1().serve_connection(stream, service);
                // Few connections are of browsers: the others need not have room for this.
                Box::pin(live(http, &connection, times)).await;
            }
        }
    }

    /// The stream, once the peer has shown what it speaks; nothing if that is not spoken
    /// here, is too late, or there is no room or time to wait for it.
    async fn open(&self, stream: TcpStream, entry: Entry) -> Option<(Stream, Protocol)> {
        socket::tune(&stream).ok()?;
        // On the heap, and gone when the connection begins its long life.
        let shaking = Box::pin(shake_hands(stream, self.tls.as_deref()));
        let shaken = tokio::select! {
            biased;
            () = self.closing.cancelled() => return None,
            () = entry.crowded_out() => {
                Cause::CrowdedOut.count();
                return None;
            }
            shaken = timeout(self.times.handshake, shaking) => shaken,
        };
        match shaken {
            Ok(Ok((_, Protocol::Http1))) if !self.http1 => {}
            Ok(Ok(opened)) => return Some(opened),
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
        Cause::Handshake.count();
        None
    }
}
