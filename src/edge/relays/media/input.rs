use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{fan_out::FanOut, meter::MediaMeter, output_queue::OutputQueue, packet::Packet};
use crate::{
    backoff::Backoff,
    domain::Secret,
    edge::{
        media_meters::MediaMeters,
        relays::{
            relay_failure::RelayFailure,
            rtmp::{
                Incoming, Message, Response, Session, SessionError, StreamTarget,
                message::{event, kind},
            },
            upstream::{
                Address, Certificates, RtmpAddress, Secrets, Side, UpstreamError, connect_tcp,
                establish,
            },
        },
    },
    outbound::Addresses,
};

/// The silence of a play session after which it is started anew. Media servers send media,
/// or end the publisher.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// The header of a tag in an aggregate message, and the length behind its body.
const TAG_HEADER_BYTES: usize = 11;
const TAG_TRAILER_BYTES: usize = 4;

/// The number of the last play session, or publisher in it, of all inputs and renditions: an
/// output may follow its stream to another input.
static LAST_EPOCH: AtomicU64 = AtomicU64::new(0);

pub(crate) fn next_epoch() -> u64 {
    LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1
}

/// Where a live stream is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputSource {
    pub(crate) stream_id: String,
    pub(crate) connection_id: String,
    /// The URL: `rtmp://host:port/app/name`.
    pub(crate) url: Secret,
}

/// The play session of a live stream. It is started anew when it is lost, and closed when
/// this is dropped.
#[derive(Debug)]
pub(crate) struct Input {
    fan_out: Arc<FanOut>,
    failure: watch::Receiver<Option<RelayFailure>>,
    /// Whether the media server has answered the request to play, or could not.
    answered: watch::Receiver<bool>,
    /// Ends the wait for the next try.
    retry: Arc<Notify>,
    /// A rendition has none: its source is measured.
    meter: Option<Arc<MediaMeter>>,
    /// What this is made from, if it is a rendition.
    source: Option<Arc<Self>>,
    _task: AbortOnDropHandle<()>,
}

impl Input {
    /// Starts playing. An error says that the URL cannot be used.
    pub(super) fn start(
        source: &InputSource,
        certificates: Arc<Certificates>,
        meters: &MediaMeters,
    ) -> Result<Self, RelayFailure> {
        let invalid = |why| UpstreamError::AddressInvalid(why).failure(Side::Input);
        let address = match Address::parse(&source.url).map_err(invalid)? {
            Address::Rtmp(address) => address,
            Address::Srt(_) => return Err(invalid("must be RTMP")),
        };
        let fan_out = Arc::<FanOut>::default();
        let (failed, failure) = watch::channel(None);
        let (answer, answered) = watch::channel(false);
        let retry = Arc::<Notify>::default();
        let meter = Arc::<MediaMeter>::default();
        meters.add(&source.stream_id, &source.connection_id, &meter);
        let media = (Arc::clone(&fan_out), Arc::clone(&meter));
        let attempts = (Arc::clone(&retry), failed, answer);
        let playing = play_repeatedly(address, certificates, media, attempts);
        Ok(Self {
            fan_out,
            failure,
            answered,
            retry,
            source: None,
            meter: Some(meter),
            _task: AbortOnDropHandle::new(tokio::spawn(playing)),
        })
    }

    /// A rendition of another input, which a task distributes.
    pub(crate) fn derived(
        source: Arc<Self>,
        fan_out: Arc<FanOut>,
        failure: watch::Receiver<Option<RelayFailure>>,
        task: AbortOnDropHandle<()>,
    ) -> Self {
        Self {
            fan_out,
            failure,
            answered: source.answered.clone(),
            retry: Arc::clone(&source.retry),
            source: Some(source),
            meter: None,
            _task: task,
        }
    }

    /// Adds an output, which receives packets after a delay.
    pub(crate) fn subscribe(&self, delay: Duration) -> Arc<OutputQueue> {
        self.fan_out.subscribe(delay)
    }

    /// Adds an output that may have received packets of another input.
    pub(super) fn attach(&self, queue: &Arc<OutputQueue>) {
        self.fan_out.attach(queue);
    }

    /// Removes an output.
    pub(super) fn unsubscribe(&self, queue: &Arc<OutputQueue>) {
        self.fan_out.detach(queue);
    }

    /// What this is made from, if it is a rendition.
    pub(super) fn source(&self) -> Option<&Arc<Self>> {
        self.source.as_ref()
    }

    /// Measures the media from now on as that of another connection.
    pub(super) fn measure_for(&self, source: &InputSource, meters: &MediaMeters) {
        if let Some(meter) = &self.meter {
            meters.add(&source.stream_id, &source.connection_id, meter);
        }
    }

    /// Tries again at once if there is no play session: another publisher has come.
    pub(super) fn retry(&self) {
        self.retry.notify_one();
    }

    /// Waits until the media server has answered the request to play, or could not.
    pub(crate) async fn was_answered(&self) {
        // An error means that nothing plays any more.
        let _ = self.answered.clone().wait_for(|answered| *answered).await;
    }

    /// Why there is no media now.
    pub(crate) fn failure(&self) -> Option<RelayFailure> {
        let source = self.source.as_ref();
        let failure = source.and_then(|source| source.failure());
        failure.or_else(|| self.failure.borrow().clone())
    }

    /// The codecs of Enhanced RTMP in the stream so far.
    pub(crate) fn enhanced_codecs(&self) -> Vec<String> {
        self.fan_out.enhanced_codecs()
    }

    /// A failure that no other attempt can avoid: the media server omits what decoders need.
    pub(crate) fn codec_failure(&self) -> Option<RelayFailure> {
        if let Some(source) = &self.source {
            let own = self.failure.borrow().clone();
            return source
                .codec_failure()
                .or(own.filter(RelayFailure::is_fatal));
        }
        let codec = self.fan_out.withheld_codec()?;
        let text = format!(
            "the media server does not pass on the codec {codec} (Enhanced RTMP) or its \
            configuration: nginx-rtmp cannot, MediaMTX and SRS can"
        );
        Some(UpstreamError::CodecUnsupported(text).failure(Side::Input))
    }
}

async fn play_repeatedly(
    address: RtmpAddress,
    certificates: Arc<Certificates>,
    (fan_out, meter): (Arc<FanOut>, Arc<MediaMeter>),
    (retry, failed, answered): (
        Arc<Notify>,
        watch::Sender<Option<RelayFailure>>,
        watch::Sender<bool>,
    ),
) {
    let mut failures = 0;
    loop {
        let mut player = Player {
            fan_out: &fan_out,
            meter: &meter,
            failed: &failed,
            answered: &answered,
            epoch: 0,
            has_played: false,
        };
        let error = player.play(&address, &certificates).await;
        failures = if player.has_played { 1 } else { failures + 1 };
        fan_out.interrupt();
        let failure = error.failure(Side::Input);
        tracing::debug!(
            code = failure.code,
            reason = failure.message,
            "the input is lost"
        );
        failed.send_replace(Some(failure));
        answered.send_replace(true);
        let _ = timeout(RETRY_BACKOFF.delay(failures), retry.notified()).await;
    }
}

/// One play session.
struct Player<'a> {
    fan_out: &'a FanOut,
    meter: &'a MediaMeter,
    failed: &'a watch::Sender<Option<RelayFailure>>,
    answered: &'a watch::Sender<bool>,
    /// The number of the play session, or publisher in it.
    epoch: u64,
    has_played: bool,
}

impl Player<'_> {
    /// Plays until the session ends; returns why.
    async fn play(&mut self, address: &RtmpAddress, certificates: &Certificates) -> UpstreamError {
        let played: Result<Infallible, _> = async {
            let addresses = Addresses::find(&address.site, None).await?;
            let tcp = connect_tcp(&addresses).await?;
            let connection = establish(tcp, address, certificates).await?;
            let target = StreamTarget {
                app: address.app.expose(),
                tc_url: address.tc_url.expose(),
                stream_name: address.name.expose(),
            };
            let secrets = Secrets::of(&address.name);
            let redact = |words: &str| secrets.redact(words);
            let session = Session::play(connection.transport, target).await;
            let session = session.map_err(|error| UpstreamError::starting(error, redact))?;
            self.epoch = next_epoch();
            self.answered.send_replace(true);
            let ended = self.receive(session).await;
            Err(match ended {
                SessionError::Refused(words) => UpstreamError::Refused(redact(&words)),
                SessionError::Timeout => {
                    UpstreamError::Lost("the media server sends no media of the stream".into())
                }
                _ => UpstreamError::Lost("the media server closed the play session".into()),
            })
        }
        .await;
        match played {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn receive<C>(&mut self, mut session: Session<C>) -> SessionError
    where
        C: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    {
        loop {
            let message = match next(&mut session.incoming).await {
                Ok(message) => message,
                Err(error) => return error,
            };
            if let Some(reply) = session.incoming.take_reply() {
                session.outgoing.queue(&reply);
                if session.outgoing.flush().await.is_err() {
                    return SessionError::Closed;
                }
            }
            if let Err(error) = self.handle(&message) {
                return error;
            }
        }
    }

    fn handle(&mut self, message: &Message) -> Result<(), SessionError> {
        if message.kind == kind::AGGREGATE {
            for message in split_aggregate(message) {
                self.publish(&message);
            }
            return Ok(());
        }
        // The next publisher has other timestamps.
        if let Some((event::STREAM_EOF, _)) = message.event() {
            self.epoch = next_epoch();
            self.fan_out.interrupt();
        }
        if let Some(Response::Status {
            is_error: true,
            words,
            ..
        }) = Response::of(message)
        {
            return Err(SessionError::Refused(words));
        }
        self.publish(message);
        Ok(())
    }

    fn publish(&mut self, message: &Message) {
        let Some(packet) = Packet::of(message, self.epoch) else {
            return;
        };
        if !self.has_played && !packet.is_description() {
            self.has_played = true;
            self.failed.send_replace(None);
        }
        self.meter.add(&packet, Instant::now());
        self.fan_out.publish(packet);
    }
}

async fn next<C: tokio::io::AsyncRead>(
    incoming: &mut Incoming<C>,
) -> Result<Message, SessionError> {
    let next = timeout(SILENCE_TIMEOUT, incoming.next()).await;
    next.unwrap_or(Err(SessionError::Timeout))
}

/// The messages in an aggregate message (RTMP 1.0, section 7.1.6). Their timestamps are
/// relative to that of the first one.
pub(crate) fn split_aggregate(aggregate: &Message) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut rest = aggregate.payload.clone();
    let mut first = None;
    while rest.len() >= TAG_HEADER_BYTES {
        let header = rest.split_to(TAG_HEADER_BYTES);
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let timestamp = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        if length > rest.len() {
            break;
        }
        let since = timestamp.wrapping_sub(*first.get_or_insert(timestamp));
        messages.push(Message {
            kind: header[0],
            timestamp: aggregate.timestamp.wrapping_add(since),
            stream_id: aggregate.stream_id,
            // A copy: a part would keep the whole aggregate in memory.
            payload: Bytes::copy_from_slice(&rest.split_to(length)),
        });
        let _ = rest.split_to(TAG_TRAILER_BYTES.min(rest.len()));
    }
    messages
}
