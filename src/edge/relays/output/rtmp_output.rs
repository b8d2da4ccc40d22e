use std::{
    io,
    pin::pin,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{delivery::Delivery, playout::Playout};
use crate::{
    domain::{Secret, UrlPolicy},
    edge::relays::{
        media::{Packet, Role, Subscription},
        relay_failure::RelayFailure,
        rtmp::{
            Incoming, Message, Outgoing, Response, Session, SessionError, StreamTarget, amf0,
            message::kind,
        },
        upstream::{
            Certificates, RtmpAddress, Secrets, Side, Socket, UpstreamError, connect_tcp,
            connect_tcp_when_back, establish,
        },
    },
    outbound::Addresses,
};

/// A stream that is closed sooner after it was accepted was refused after all.
const EARLY: Duration = Duration::from_secs(5);

/// The longest time for the reason of a broken connection to arrive.
const REASON_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest time of an orderly end.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(800);

/// The most bytes that wait in the kernel, which could hold several seconds of media. They
/// are counted each time after so many were written.
const MAX_UNSENT_BYTES: u64 = 512 * 1024;
const UNSENT_CHECK_BYTES: u64 = 128 * 1024;
const UNSENT_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// How often it is checked whether the destination answers, and how soon one that refuses new
/// connections is tried again.
const SILENCE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
const REFUSED_DELAY: Duration = Duration::from_secs(2);

/// The number of announced codecs from which on others are sent unannounced.
const MAX_ANNOUNCED: usize = 8;

/// The most protocol messages that wait to be sent.
const REPLY_QUEUE_LENGTH: usize = 16;

/// A destination over RTMP or RTMPS.
#[derive(Debug)]
pub(crate) struct RtmpOutput<'a> {
    pub(crate) address: &'a RtmpAddress,
    pub(crate) policy: &'a UrlPolicy,
    pub(crate) certificates: &'a Certificates,
    pub(crate) subscription: &'a Subscription,
    pub(crate) delivery: &'a Delivery,
    /// Whether it has taken media of this stream. Then it is reached soon after it answers again.
    pub(crate) is_expected_back: bool,
}

/// A stream that the server has accepted.
struct Publication<C> {
    session: Session<C>,
    addresses: Addresses,
    socket: Socket,
}

/// Why no more packets are sent.
enum SendEnd {
    Failed(UpstreamError),
    /// The server answered nothing any more, and has accepted another connection now.
    IsBack(TcpStream),
    /// The stream has this codec of Enhanced RTMP, which was not announced.
    NotAnnounced(String),
}

impl RtmpOutput<'_> {
    /// Sends until `stop` or a failure. The end is orderly and takes less than a second.
    ///
    /// Clients announce codecs of Enhanced RTMP when they connect, where some servers refuse
    /// them. So only codecs of the stream are announced. If one becomes known later, the
    /// output connects again.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<(), RelayFailure> {
        let mut codecs = self.subscription.enhanced_codecs();
        let mut connection = None;
        loop {
            let started = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                started = self.start(connection.take(), &codecs) => started,
            };
            let sent = match started {
                Ok(publication) => self.send(publication, &codecs, stop).await,
                Err(error) => Err(SendEnd::Failed(error)),
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(SendEnd::Failed(error)) => return Err(error.failure(Side::Output)),
                Err(SendEnd::IsBack(tcp)) => {
                    tracing::info!("the destination answers again, replacing the connection");
                    connection = Some(tcp);
                }
                Err(SendEnd::NotAnnounced(codec)) => {
                    tracing::info!(codec, "connecting again to announce a codec");
                    codecs.push(codec);
                    let known = self.subscription.enhanced_codecs().into_iter();
                    let new: Vec<_> = known.filter(|codec| !codecs.contains(codec)).collect();
                    codecs.extend(new);
                }
            }
        }
    }

    /// Connects, unless there is a connection, and publishes.
    async fn start(
        &self,
        tcp: Option<TcpStream>,
        codecs: &[String],
    ) -> Result<Publication<impl AsyncRead + AsyncWrite + use<>>, UpstreamError> {
        let addresses = Addresses::find(&self.address.site, Some(self.policy)).await?;
        let tcp = match tcp {
            Some(tcp) => tcp,
            None if self.is_expected_back => connect_tcp_when_back(&addresses).await?,
            None => connect_tcp(&addresses).await?,
        };
        let connection = establish(tcp, self.address, self.certificates).await?;
        self.delivery.connected(connection.local, connection.peer);
        let target = StreamTarget {
            app: self.address.app.expose(),
            tc_url: self.address.tc_url.expose(),
            stream_name: self.address.name.expose(),
        };
        let codecs: Vec<_> = codecs.iter().map(String::as_str).collect();
        let session = Session::publish(connection.transport, target, &codecs).await;
        let refused = |error| UpstreamError::starting(error, |words| self.redact(words));
        Ok(Publication {
            session: session.map_err(refused)?,
            addresses,
            socket: connection.socket,
        })
    }

    async fn send<C: AsyncRead + AsyncWrite>(
        &self,
        publication: Publication<C>,
        codecs: &[String],
        stop: &CancellationToken,
    ) -> Result<(), SendEnd> {
        let Publication {
            session,
            addresses,
            socket,
        } = publication;
        let Session {
            mut incoming,
            mut outgoing,
            four_ccs,
        } = session;
        let started = Instant::now();
        let playout = Playout::new(self.subscription, self.delivery);
        let (replies, wanted) = mpsc::channel(REPLY_QUEUE_LENGTH);
        let mut listening = pin!(self.listen(&mut incoming, replies));
        let accepted = AcceptedCodecs {
            announced: codecs,
            listed: &four_ccs,
        };
        let sent = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            // It has ended, and must not be polled again.
            error = &mut listening => return Err(SendEnd::Failed(self.ended(error, started))),
            tcp = self.is_back(&addresses) => Err(SendEnd::IsBack(tcp)),
            end = self.send_packets(&mut outgoing, playout, wanted, &accepted) => Err(end),
        };
        match sent {
            // The reason may not have been read yet.
            Err(SendEnd::Failed(UpstreamError::Lost(text))) => {
                let reason = timeout(REASON_TIMEOUT, listening).await;
                let lost = || self.lost(&text);
                let error = reason.map_or_else(|_| lost(), |error| self.ended(error, started));
                return Err(SendEnd::Failed(error));
            }
            Err(SendEnd::Failed(_)) => {}
            // Otherwise the server could take the next one for a second publisher.
            Err(SendEnd::IsBack(_)) => socket.reset_on_close(),
            Ok(()) | Err(SendEnd::NotAnnounced(_)) => {
                let closing = async {
                    if outgoing.close(self.address.name.expose()).await.is_ok() {
                        // Closing before the server does could discard what it has not read.
                        listening.await;
                    }
                };
                // A server that does not close is left.
                let _ = timeout(CLOSE_TIMEOUT, closing).await;
            }
        }
        sent
    }

    /// Sends packets and replies until the connection breaks, or a packet cannot be sent.
    async fn send_packets<C: AsyncWrite>(
        &self,
        outgoing: &mut Outgoing<C>,
        mut playout: Playout<'_>,
        mut replies: mpsc::Receiver<Message>,
        codecs: &AcceptedCodecs<'_>,
    ) -> SendEnd {
        let lost = || SendEnd::Failed(UpstreamError::Lost("the connection was lost".into()));
        let mut has_media = false;
        let mut checked = 0;
        loop {
            if outgoing.flush().await.is_err() {
                return lost();
            }
            self.delivery.wrote(outgoing.written());
            if outgoing.written() - checked >= UNSENT_CHECK_BYTES {
                checked = outgoing.written();
                self.kernel_has_room().await;
            }
            let packets = tokio::select! {
                Some(reply) = replies.recv() => {
                    if self.send_reply(outgoing, &reply).await.is_err() {
                        return lost();
                    }
                    continue;
                }
                packets = playout.next() => packets,
            };
            for (timestamp, packet) in &packets {
                if let Err(end) = codecs.check(packet) {
                    return end;
                }
                if !has_media && !packet.is_description() {
                    if outgoing.flush().await.is_err() {
                        return lost();
                    }
                    self.delivery.media_begins(outgoing.written());
                    has_media = true;
                }
                outgoing.queue(&message(packet, *timestamp, outgoing.stream_id()));
            }
        }
    }

    /// Sends a reply after all media before it, so that its bytes do not count as media.
    async fn send_reply<C: AsyncWrite>(
        &self,
        outgoing: &mut Outgoing<C>,
        reply: &Message,
    ) -> io::Result<()> {
        let start = self.delivery.position(outgoing.written());
        outgoing.queue(reply);
        outgoing.flush().await?;
        let end = self.delivery.position(outgoing.written());
        self.delivery.exclude(start, end);
        Ok(())
    }

    /// Waits until the server, which answers nothing on the connection any more, accepts another.
    async fn is_back(&self, addresses: &Addresses) -> TcpStream {
        loop {
            sleep(SILENCE_CHECK_INTERVAL).await;
            if !self.delivery.check_silence() {
                continue;
            }
            match connect_tcp_when_back(addresses).await {
                Ok(tcp) if self.delivery.check_silence() => return tcp,
                // The connection goes on.
                Ok(_) | Err(UpstreamError::ConnectTimeout) => {}
                Err(_) => sleep(REFUSED_DELAY).await,
            }
        }
    }

    /// Waits until the kernel has sent most bytes, so that what waits is in the queue, which
    /// drops what is too old.
    async fn kernel_has_room(&self) {
        while self.delivery.unsent() > MAX_UNSENT_BYTES {
            sleep(UNSENT_CHECK_INTERVAL).await;
        }
    }

    /// Reads what the server says until it ends the stream; returns why.
    async fn listen<C: AsyncRead>(
        &self,
        incoming: &mut Incoming<C>,
        replies: mpsc::Sender<Message>,
    ) -> SessionError {
        loop {
            let message = match incoming.next().await {
                Ok(message) => message,
                Err(error) => return error,
            };
            if let Some(reply) = incoming.take_reply() {
                // A server that asks faster than it reads gets fewer replies.
                let _ = replies.try_send(reply);
            }
            if let (kind::ACKNOWLEDGEMENT, Some(sequence)) = (message.kind, message.number()) {
                self.delivery.peer_acknowledged(sequence);
            }
            if let Some(Response::Status {
                is_error: true,
                words,
                ..
            }) = Response::of(&message)
            {
                return SessionError::Refused(words);
            }
        }
    }

    /// What the end of a published stream means.
    fn ended(&self, error: SessionError, started: Instant) -> UpstreamError {
        let is_early = started.elapsed() < EARLY;
        match error {
            SessionError::Refused(words) if is_early => UpstreamError::Refused(self.redact(&words)),
            SessionError::Refused(words) => UpstreamError::Lost(self.redact(&words)),
            SessionError::Closed if is_early => UpstreamError::ClosedEarly,
            SessionError::Closed | SessionError::Timeout => self.lost("the connection was lost"),
            SessionError::Invalid => UpstreamError::Lost("it does not speak RTMP".into()),
        }
    }

    /// Why the connection was lost: the kernel gives up one that is not answered.
    fn lost(&self, text: &str) -> UpstreamError {
        match self.delivery.is_silent() {
            true => UpstreamError::ConnectTimeout,
            false => UpstreamError::Lost(text.to_owned()),
        }
    }

    fn redact(&self, words: &str) -> String {
        let query = self.address.app.expose().split_once('?');
        let query = Secret::new(query.map_or("", |(_, query)| query));
        let words = Secrets::of(&query).redact(words);
        Secrets::of(&self.address.name).redact(&words)
    }
}

/// The codecs of Enhanced RTMP that may be sent.
struct AcceptedCodecs<'a> {
    /// Announced to the server.
    announced: &'a [String],
    /// Those that the server has listed; empty if it has not.
    listed: &'a [String],
}

impl AcceptedCodecs<'_> {
    /// An error if the codec of a packet is not among them.
    fn check(&self, packet: &Packet) -> Result<(), SendEnd> {
        let Some(codec) = packet.codec_name() else {
            return Ok(());
        };
        let is_listed = |listed: &String| listed == codec || listed == "*";
        if !self.listed.is_empty() && !self.listed.iter().any(is_listed) {
            let text = format!("the destination does not accept the codec {codec} (Enhanced RTMP)");
            return Err(SendEnd::Failed(UpstreamError::CodecUnsupported(text)));
        }
        let is_announced = self.announced.iter().any(|announced| announced == codec);
        match is_announced || self.announced.len() >= MAX_ANNOUNCED {
            true => Ok(()),
            false => Err(SendEnd::NotAnnounced(codec.to_owned())),
        }
    }
}

fn message(packet: &Packet, timestamp: u32, stream_id: u32) -> Message {
    Message {
        kind: packet.kind(),
        timestamp,
        stream_id,
        payload: match packet.role {
            Role::Metadata => set_data_frame(&packet.payload),
            _ => packet.payload.clone(),
        },
    }
}

/// The command with which publishers set metadata.
fn set_data_frame(metadata: &[u8]) -> Bytes {
    let mut payload = Vec::with_capacity(metadata.len() + 16);
    amf0::write_string("@setDataFrame", &mut payload);
    let mut payload = BytesMut::from(&payload[..]);
    payload.extend_from_slice(metadata);
    payload.freeze()
}
