use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, interval},
};

use super::packet::{Kind, in_words, kind_of, sender, shutdown, stream_id, with_stream_id};
use crate::{
    domain::Secret,
    edge::relays::{
        carrier::{
            address::SrtAddress,
            host::Addresses,
            random::{is_same, random_name},
            trouble::{Trouble, Way},
        },
        relay_failure::RelayFailure,
    },
};

/// More than SRT's largest packet.
const BUFFER: usize = 2048;
/// How long the listener may take to consent; ffmpeg is made to wait longer.
const CONSENT: Duration = Duration::from_secs(10);
const FFMPEG_WAITS: u64 = 12_000;
/// For how long a listener may say nothing. It speaks every second at least, and ffmpeg
/// gives up after five.
const SILENCE: Duration = Duration::from_millis(4500);
/// A stream that is closed sooner after it was accepted was refused after all.
const EARLY: Duration = Duration::from_secs(5);
/// How often it is looked whether time is over.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Media on its way from ffmpeg to an SRT listener.
pub(in crate::edge::relays::carrier) struct Carriage {
    local: UdpSocket,
    far: UdpSocket,
    local_url: String,
    local_id: String,
    stream_id: Secret,
    bytes: Arc<AtomicU64>,
    call: Call,
}

/// How far a call is.
#[derive(Default)]
struct Call {
    /// Who is answered.
    peer: Option<SocketAddr>,
    /// Whether that is ffmpeg, who knows our stream id.
    is_known: bool,
    asked: Option<Instant>,
    accepted: Option<Instant>,
    /// The listener's socket, which is to be told when all is over.
    socket: Option<[u8; 4]>,
    heard: Option<Instant>,
    /// What ffmpeg is told after all others were.
    last_words: Vec<u8>,
}

impl Carriage {
    /// Waits for ffmpeg on a port of this machine's own.
    pub(in crate::edge::relays::carrier) async fn new(
        address: &SrtAddress,
        addresses: &Addresses,
    ) -> Result<Self, Trouble> {
        let lost = |_: io::Error| Trouble::Lost("this machine has no port left".into());
        let local = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(lost)?;
        let port = local.local_addr().map_err(lost)?.port();
        let far = connected(addresses.all()).await?;
        let local_id = random_name();
        let mut local_url = format!(
            "srt://127.0.0.1:{port}?mode=caller&connect_timeout={FFMPEG_WAITS}&streamid={local_id}"
        );
        if !address.options.is_empty() {
            local_url = format!("{local_url}&{}", address.options);
        }
        Ok(Self {
            local,
            far,
            local_url,
            local_id,
            stream_id: address.stream_id.clone(),
            bytes: Arc::default(),
            call: Call::default(),
        })
    }

    /// What ffmpeg is given.
    pub(in crate::edge::relays::carrier) fn local_url(&self) -> String {
        self.local_url.clone()
    }

    /// Counts the bytes of media.
    pub(in crate::edge::relays::carrier) fn bytes(&self) -> Arc<AtomicU64> {
        self.bytes.clone()
    }

    /// Carries until one side is gone. What went wrong is told before ffmpeg can know it.
    pub(in crate::edge::relays::carrier) async fn run(
        mut self,
        told: watch::Sender<Option<RelayFailure>>,
    ) {
        if let Err(trouble) = self.carry().await {
            told.send_replace(Some(trouble.fault(Way::Sending)));
            if let Some(peer) = self.call.peer {
                let _ = self.local.send_to(&self.call.last_words, peer).await;
            }
        }
    }

    async fn carry(&mut self) -> Result<(), Trouble> {
        let (mut ours, mut theirs) = (vec![0; BUFFER], vec![0; BUFFER]);
        let mut look = interval(POLL_INTERVAL);
        loop {
            tokio::select! {
                received = self.local.recv_from(&mut ours) => {
                    // Of a socket without a peer nothing fails that matters.
                    if let Ok((length, from)) = received
                        && self.out(&ours[..length], from).await?
                    {
                        return Ok(());
                    }
                }
                received = self.far.recv(&mut theirs) => match received {
                    Ok(length) => self.back(&theirs[..length]).await?,
                    Err(error) => self.fails(&error)?,
                },
                _ = look.tick() => self.call.in_time()?,
            }
        }
    }

    /// From ffmpeg to the listener; says whether ffmpeg is leaving.
    async fn out(&mut self, packet: &[u8], from: SocketAddr) -> Result<bool, Trouble> {
        let kind = kind_of(packet);
        let sent = match kind {
            _ if self.call.is_known && self.call.peer != Some(from) => return Ok(false),
            Kind::Induction => {
                self.call.peer = Some(from);
                self.call.asked.get_or_insert_with(Instant::now);
                self.far.send(packet).await
            }
            Kind::Conclusion => match self.introduced(packet) {
                Some(packet) => {
                    self.call.peer = Some(from);
                    self.call.is_known = true;
                    self.far.send(&packet).await
                }
                None => return Ok(false),
            },
            _ if !self.call.is_known => return Ok(false),
            _ => self.far.send(packet).await,
        };
        match sent {
            Ok(_) => {
                if let Kind::Data(length) = kind {
                    self.bytes.fetch_add(length as u64, Ordering::Relaxed);
                }
            }
            Err(error) => self.fails(&error)?,
        }
        Ok(kind == Kind::Shutdown)
    }

    /// A conclusion with the true stream id; `None` if it has not ours.
    fn introduced(&self, packet: &[u8]) -> Option<Vec<u8>> {
        is_same(&stream_id(packet)?, self.local_id.as_bytes())
            .then(|| with_stream_id(packet, self.stream_id.expose()))?
    }

    /// From the listener to ffmpeg.
    async fn back(&mut self, packet: &[u8]) -> Result<(), Trouble> {
        let kind = kind_of(packet);
        match kind {
            Kind::Conclusion => self.call.socket = sender(packet),
            Kind::Rejection(_) | Kind::Shutdown => {
                self.call.last_words = packet.to_vec();
                self.call.socket = None;
            }
            _ => {}
        }
        self.call.hear(kind)?;
        if let Some(peer) = self.call.peer {
            let _ = self.local.send_to(packet, peer).await;
        }
        Ok(())
    }

    /// What it means that the listener's host answers with an error.
    fn fails(&self, error: &io::Error) -> Result<(), Trouble> {
        match self.call.accepted {
            // It may come back before SRT gives up.
            Some(_) => Ok(()),
            None => Err(Trouble::connecting(error)),
        }
    }
}

impl Call {
    fn hear(&mut self, kind: Kind) -> Result<(), Trouble> {
        let now = Instant::now();
        self.heard = Some(now);
        match (kind, self.accepted) {
            (Kind::Conclusion, _) => {
                self.accepted.get_or_insert(now);
                Ok(())
            }
            (Kind::Rejection(reason), _) => Err(match in_words(reason) {
                (true, words) => Trouble::Lost(format!("{words} (reason {reason})")),
                (false, words) => Trouble::Refused(format!("{words} (reason {reason})")),
            }),
            (Kind::Shutdown, Some(at)) if at.elapsed() < EARLY => Err(Trouble::ClosedEarly),
            (Kind::Shutdown, _) => Err(Trouble::Lost("it closed the connection".into())),
            _ => Ok(()),
        }
    }

    fn in_time(&self) -> Result<(), Trouble> {
        let longer = |since: Option<Instant>, span| since.is_some_and(|at| at.elapsed() > span);
        match self.accepted {
            Some(_) if longer(self.heard, SILENCE) => {
                Err(Trouble::Lost("it does not answer any more".into()))
            }
            None if longer(self.asked, CONSENT) => Err(Trouble::ConnectTimeout),
            _ => Ok(()),
        }
    }
}

impl Drop for Carriage {
    /// The listener would wait for seconds, with the stream id in use, for an ffmpeg that
    /// ended without a word, or whose word was not carried any more.
    fn drop(&mut self) {
        if let Some(socket) = self.call.socket {
            let _ = self.far.try_send(&shutdown(socket));
        }
    }
}

/// A socket that speaks only with the first address that there is a way to, and is told
/// if nothing listens there.
async fn connected(addresses: &[SocketAddr]) -> Result<UdpSocket, Trouble> {
    let mut trouble = Trouble::Unreachable;
    for address in addresses {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = match UdpSocket::bind(any).await {
            Ok(socket) => socket.connect(address).await.map(|()| socket),
            Err(error) => Err(error),
        };
        match socket {
            Ok(socket) => return Ok(socket),
            Err(error) => trouble = Trouble::connecting(&error),
        }
    }
    Err(trouble)
}
