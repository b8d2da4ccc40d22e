use std::{net::IpAddr, sync::Arc};

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    call_tracking::Tracked,
    coalesced_io::Gathering,
    connection::Connection,
    connection_metrics::{Cause, Tally},
    executor::CallExecutor,
    handshake::{Protocol, Stream, shake_hands},
    http::{http1, http2},
    http_service::Calls,
    lifetime::{Times, live},
    overload::Pressure,
    pending_handshakes::Entry,
    socket,
    tls::Tls,
};

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
