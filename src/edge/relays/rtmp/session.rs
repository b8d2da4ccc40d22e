use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    time::timeout,
};

use super::{
    chunk_reader::ChunkReader,
    chunk_writer::{CHUNK_SIZE, ChunkWriter},
    command::{
        FOUR_CCS, buffer_length, connect, create_stream, delete_stream, play, publish,
        with_stream_name,
    },
    message::{Message, event, kind, user_control},
    response::Response,
};

/// The longest message of media: far more than a keyframe at the bitrates of platforms.
const MAX_MEDIA_BYTES: usize = 8 * 1024 * 1024;

/// The longest message of a destination, which sends commands only.
const MAX_COMMAND_BYTES: usize = 64 * 1024;

/// The bytes after which a destination acknowledges: 0.7 seconds at 6 Mbit/s.
const ACKNOWLEDGEMENT_WINDOW: u32 = 500_000;

const READ_BYTES: usize = 64 * 1024;

/// The time for all commands until media flows.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT: f64 = 1.0;
const RELEASE_STREAM: u32 = 2;
const FC_PUBLISH: u32 = 3;
const CREATE_STREAM: u32 = 4;
const START: u32 = 5;
const FC_UNPUBLISH: u32 = 6;
const DELETE_STREAM: u32 = 7;

/// The names of a stream on a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTarget<'a> {
    pub(crate) app: &'a str,
    pub(crate) tc_url: &'a str,
    pub(crate) stream_name: &'a str,
}

/// Why a session cannot start, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionError {
    /// The server refused, in these words, which may hold secrets.
    Refused(String),
    /// The server closed the connection.
    Closed,
    /// The server does not answer a command.
    Timeout,
    /// The server sends something that is not RTMP, or exceeds a limit.
    Invalid,
}

/// The direction from the server.
#[derive(Debug)]
pub(crate) struct Incoming<C> {
    connection: ReadHalf<C>,
    reader: ChunkReader,
    received: u64,
    acknowledged: u64,
    /// The bytes after which the server expects an acknowledgement; 0 means never.
    window: u32,
    reply: Option<Message>,
}

/// The direction to the server.
#[derive(Debug)]
pub(crate) struct Outgoing<C> {
    connection: WriteHalf<C>,
    writer: ChunkWriter,
    stream_id: u32,
}

/// A connection whose commands succeeded: media may flow.
#[derive(Debug)]
pub(crate) struct Session<C> {
    pub(crate) incoming: Incoming<C>,
    pub(crate) outgoing: Outgoing<C>,
    /// The codecs of Enhanced RTMP that the server accepts; empty if it does not say.
    pub(crate) four_ccs: Vec<String>,
}

impl<C: AsyncRead + AsyncWrite> Session<C> {
    /// Publishes a stream on a connection after its handshake. `four_ccs` are the codecs of
    /// Enhanced RTMP in the stream.
    pub(crate) async fn publish(
        connection: C,
        target: StreamTarget<'_>,
        four_ccs: &[&str],
    ) -> Result<Self, SessionError> {
        let mut session = Self::new(connection, MAX_COMMAND_BYTES);
        let publishing = session.start_publishing(target, four_ccs);
        let started = timeout(COMMAND_TIMEOUT, publishing).await;
        started.unwrap_or(Err(SessionError::Timeout))?;
        Ok(session)
    }

    /// Plays a stream on a connection after its handshake.
    pub(crate) async fn play(
        connection: C,
        target: StreamTarget<'_>,
    ) -> Result<Self, SessionError> {
        let mut session = Self::new(connection, MAX_MEDIA_BYTES);
        let started = timeout(COMMAND_TIMEOUT, session.start_playing(target)).await;
        started.unwrap_or(Err(SessionError::Timeout))?;
        Ok(session)
    }

    /// Connects to an application on a connection after its handshake, and does not publish.
    pub(crate) async fn connect_only(
        connection: C,
        target: StreamTarget<'_>,
    ) -> Result<(), SessionError> {
        let mut session = Self::new(connection, MAX_COMMAND_BYTES);
        let connected = timeout(COMMAND_TIMEOUT, session.connect(target, true, &[])).await;
        connected.unwrap_or(Err(SessionError::Timeout))
    }

    fn new(connection: C, max_message: usize) -> Self {
        let (read, write) = split(connection);
        Self {
            incoming: Incoming {
                connection: read,
                reader: ChunkReader::new(max_message),
                received: 0,
                acknowledged: 0,
                window: 0,
                reply: None,
            },
            outgoing: Outgoing {
                connection: write,
                writer: ChunkWriter::default(),
                stream_id: 0,
            },
            four_ccs: Vec::new(),
        }
    }

    async fn start_publishing(
        &mut self,
        target: StreamTarget<'_>,
        four_ccs: &[&str],
    ) -> Result<(), SessionError> {
        self.connect(target, true, four_ccs).await?;
        let name = target.stream_name;
        self.outgoing.send(&[
            Message::control(
                kind::WINDOW_SIZE,
                ACKNOWLEDGEMENT_WINDOW.to_be_bytes().to_vec(),
            ),
            with_stream_name("releaseStream", RELEASE_STREAM, name),
            with_stream_name("FCPublish", FC_PUBLISH, name),
            create_stream(CREATE_STREAM),
        ]);
        self.stream_created().await?;
        let stream_id = self.outgoing.stream_id;
        self.outgoing.send(&[publish(START, stream_id, name)]);
        self.started("NetStream.Publish.Start").await
    }

    async fn start_playing(&mut self, target: StreamTarget<'_>) -> Result<(), SessionError> {
        self.connect(target, false, &FOUR_CCS).await?;
        self.outgoing.send(&[create_stream(CREATE_STREAM)]);
        self.stream_created().await?;
        let stream_id = self.outgoing.stream_id;
        self.outgoing.send(&[
            play(START, stream_id, target.stream_name),
            buffer_length(stream_id),
        ]);
        self.started("NetStream.Play.Start").await
    }

    async fn connect(
        &mut self,
        target: StreamTarget<'_>,
        is_publisher: bool,
        four_ccs: &[&str],
    ) -> Result<(), SessionError> {
        let StreamTarget { app, tc_url, .. } = target;
        self.outgoing.send(&[
            Message::control(kind::SET_CHUNK_SIZE, CHUNK_SIZE.to_be_bytes().to_vec()),
            connect(app, tc_url, is_publisher, four_ccs),
        ]);
        self.four_ccs = loop {
            if let Response::Result {
                transaction: CONNECT,
                four_ccs,
                ..
            } = self.response().await?
            {
                break four_ccs;
            }
        };
        Ok(())
    }

    async fn stream_created(&mut self) -> Result<(), SessionError> {
        loop {
            if let Response::Result {
                transaction,
                number: Some(number),
                ..
            } = self.response().await?
                && transaction == f64::from(CREATE_STREAM)
            {
                self.outgoing.stream_id = stream_id(number)?;
                return Ok(());
            }
        }
    }

    async fn started(&mut self, expected: &str) -> Result<(), SessionError> {
        loop {
            if let Response::Status { code, .. } = self.response().await?
                && code == expected
            {
                return Ok(());
            }
        }
    }

    /// The next response of the server that is no refusal.
    async fn response(&mut self) -> Result<Response, SessionError> {
        loop {
            let flushed = self.outgoing.flush().await;
            // A server that refuses may close before it has read all.
            let message = self.incoming.next().await?;
            let response = Response::of(&message);
            if let Some(reply) = self.incoming.take_reply() {
                self.outgoing.queue(&reply);
            }
            match response {
                // Many servers answer so to optional commands.
                Some(Response::Error { transaction, words })
                    if transaction == CONNECT
                        || transaction == f64::from(CREATE_STREAM)
                        || transaction == f64::from(START) =>
                {
                    return Err(SessionError::Refused(words));
                }
                Some(Response::Status {
                    is_error: true,
                    words,
                    ..
                }) => return Err(SessionError::Refused(words)),
                Some(response) => return Ok(response),
                None => flushed.map_err(|_| SessionError::Closed)?,
            }
        }
    }
}

impl<C: AsyncRead> Incoming<C> {
    /// The next message. Nothing is lost when it is dropped.
    pub(crate) async fn next(&mut self) -> Result<Message, SessionError> {
        loop {
            let next = self.reader.next().map_err(|_| SessionError::Invalid)?;
            if let Some(message) = next {
                self.prepare_reply(&message);
                return Ok(message);
            }
            self.reader.input().reserve(READ_BYTES);
            match self.connection.read_buf(self.reader.input()).await {
                Ok(0) | Err(_) => return Err(SessionError::Closed),
                Ok(count) => self.received += count as u64,
            }
        }
    }

    /// What the protocol makes the client answer to the messages so far.
    pub(crate) fn take_reply(&mut self) -> Option<Message> {
        self.reply.take()
    }

    fn prepare_reply(&mut self, message: &Message) {
        if message.kind == kind::WINDOW_SIZE {
            self.window = message.number().unwrap_or_default();
        }
        match message.event() {
            Some((event::PING_REQUEST, data)) => {
                self.reply = Some(user_control(event::PING_RESPONSE, &data));
            }
            _ if self.window > 0
                && self.received - self.acknowledged >= u64::from(self.window / 2) =>
            {
                self.acknowledged = self.received;
                #[expect(clippy::cast_possible_truncation, reason = "the sequence number wraps")]
                let sequence = self.received as u32;
                let payload = sequence.to_be_bytes().to_vec();
                self.reply = Some(Message::control(kind::ACKNOWLEDGEMENT, payload));
            }
            _ => {}
        }
    }
}

impl<C: AsyncWrite> Outgoing<C> {
    /// The message stream for media.
    pub(crate) fn stream_id(&self) -> u32 {
        self.stream_id
    }

    /// The number of bytes that were given to the connection.
    pub(crate) fn written(&self) -> u64 {
        self.writer.written()
    }

    pub(crate) fn queue(&mut self, message: &Message) {
        self.writer.queue(message);
    }

    /// Writes all that is queued. When it is dropped, what was not written stays queued.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.writer.flush(&mut self.connection).await
    }

    /// Ends the publishing, and closes the connection.
    pub(crate) async fn close(&mut self, stream_name: &str) -> io::Result<()> {
        self.queue(&with_stream_name("FCUnpublish", FC_UNPUBLISH, stream_name));
        self.queue(&delete_stream(DELETE_STREAM, self.stream_id));
        self.flush().await?;
        self.connection.shutdown().await
    }

    fn send(&mut self, messages: &[Message]) {
        for message in messages {
            self.queue(message);
        }
    }
}

/// A message stream, which `createStream` returns as a floating-point number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked"
)]
fn stream_id(number: f64) -> Result<u32, SessionError> {
    match (0.0..=f64::from(u32::MAX)).contains(&number) {
        true => Ok(number as u32),
        false => Err(SessionError::Invalid),
    }
}
