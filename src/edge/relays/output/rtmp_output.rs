use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite},
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
        upstream::{Addresses, Certificates, RtmpAddress, Secrets, Side, UpstreamError, connect},
    },
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
}

impl RtmpOutput<'_> {
    /// Sends until `stop` or a failure. The end is orderly and takes less than a second.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<(), RelayFailure> {
        let started = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            started = self.start() => started,
        };
        let sent = match started {
            Ok(session) => self.send(session, stop).await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| error.failure(Side::Output))
    }

    /// Connects and publishes.
    async fn start(&self) -> Result<Session<impl AsyncRead + AsyncWrite + use<>>, UpstreamError> {
        let addresses = Addresses::find(&self.address.site, Some(self.policy)).await?;
        let connection = connect(self.address, &addresses, self.certificates).await?;
        self.delivery.connected(connection.local, connection.peer);
        let target = StreamTarget {
            app: self.address.app.expose(),
            tc_url: self.address.tc_url.expose(),
            stream_name: self.address.name.expose(),
        };
        let codecs = self.subscription.enhanced_codecs();
        let codecs: Vec<_> = codecs.iter().map(String::as_str).collect();
        let session = Session::publish(connection.transport, target, &codecs).await;
        session.map_err(|error| UpstreamError::starting(error, |words| self.redact(words)))
    }

    async fn send<C: AsyncRead + AsyncWrite>(
        &self,
        session: Session<C>,
        stop: &CancellationToken,
    ) -> Result<(), UpstreamError> {
        let Session {
            mut incoming,
            mut outgoing,
            four_ccs,
        } = session;
        let started = Instant::now();
        let playout = Playout::new(self.subscription, self.delivery);
        let (replies, wanted) = mpsc::channel(REPLY_QUEUE_LENGTH);
        let mut listening = pin!(self.listen(&mut incoming, replies));
        let sent = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            // It has ended, and must not be polled again.
            error = &mut listening => return Err(self.ended(error, started)),
            error = self.send_packets(&mut outgoing, playout, wanted, &four_ccs) => Err(error),
        };
        match sent {
            Ok(()) => {
                let closing = async {
                    if outgoing.close(self.address.name.expose()).await.is_ok() {
                        // Closing before the server does could discard what it has not read.
                        listening.await;
                    }
                };
                // A server that does not close is left.
                let _ = timeout(CLOSE_TIMEOUT, closing).await;
                Ok(())
            }
            // The reason may not have been read yet.
            Err(UpstreamError::Lost(text)) => match timeout(REASON_TIMEOUT, listening).await {
                Ok(error) => Err(self.ended(error, started)),
                Err(_) => Err(UpstreamError::Lost(text)),
            },
            Err(error) => Err(error),
        }
    }

    /// Sends packets and replies until the connection breaks, or a packet cannot be sent.
    async fn send_packets<C: AsyncWrite>(
        &self,
        outgoing: &mut Outgoing<C>,
        mut playout: Playout<'_>,
        mut replies: mpsc::Receiver<Message>,
        four_ccs: &[String],
    ) -> UpstreamError {
        let lost = || UpstreamError::Lost("the connection was lost".into());
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
                    outgoing.queue(&reply);
                    continue;
                }
                packets = playout.next() => packets,
            };
            for (timestamp, packet) in &packets {
                if let Some(error) = unsupported(packet, four_ccs) {
                    return error;
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
            SessionError::Closed | SessionError::Timeout => {
                UpstreamError::Lost("the connection was lost".into())
            }
            SessionError::Invalid => UpstreamError::Lost("it does not speak RTMP".into()),
        }
    }

    fn redact(&self, words: &str) -> String {
        let query = self.address.app.expose().split_once('?');
        let query = Secret::new(query.map_or("", |(_, query)| query));
        let words = Secrets::of(&query).redact(words);
        Secrets::of(&self.address.name).redact(&words)
    }
}

/// The error if the server has listed its codecs, and that of the packet is not among them.
fn unsupported(packet: &Packet, four_ccs: &[String]) -> Option<UpstreamError> {
    let codec = packet.codec_name()?;
    let is_listed = |listed: &String| listed == codec || listed == "*";
    if four_ccs.is_empty() || four_ccs.iter().any(is_listed) {
        return None;
    }
    let text = format!("the destination does not accept the codec {codec} (Enhanced RTMP)");
    Some(UpstreamError::CodecUnsupported(text))
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
