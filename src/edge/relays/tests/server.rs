//! A server of RTMP that passes on every codec, which nginx-rtmp does not.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use crate::edge::relays::rtmp::{
    ChunkReader, ChunkWriter, Message, amf0,
    message::kind::{AUDIO, COMMAND, DATA, SET_CHUNK_SIZE, VIDEO},
};

const HANDSHAKE_BYTES: usize = 1536;
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// The size with which messages are written.
const CHUNK_SIZE: u32 = 60_000;
const STREAM_ID: u32 = 1;

/// What is published under a name is sent to all players of this name, from its beginning.
pub(super) struct Server {
    pub(super) port: u16,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

struct Shared {
    /// The codecs of Enhanced RTMP that it lists to clients.
    four_ccs: &'static [&'static str],
    streams: Mutex<HashMap<String, Vec<Message>>>,
    /// The name of each publish, and the `connect` command before it.
    publishes: Mutex<Vec<(String, Bytes)>>,
    /// The names of those that were ended with `deleteStream`.
    deleted: Mutex<Vec<String>>,
    changed: watch::Sender<()>,
}

impl Server {
    pub(super) async fn start(four_ccs: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            four_ccs,
            streams: Mutex::default(),
            publishes: Mutex::default(),
            deleted: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&serving)));
            }
        });
        Self {
            port,
            shared,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn url(&self, application: &str, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{application}/{name}", self.port)
    }

    /// Whether the `connect` command before each publish under a name contains a text.
    pub(super) fn publishes_with(&self, name: &str, text: &str) -> Vec<bool> {
        let publishes = self.shared.publishes.lock();
        let of_name = publishes.iter().filter(|(other, _)| other == name);
        of_name
            .map(|(_, connect)| String::from_utf8_lossy(connect).contains(text))
            .collect()
    }

    /// The names of the publishes that were ended with `deleteStream`.
    pub(super) fn deleted(&self) -> Vec<String> {
        self.shared.deleted.lock().clone()
    }

    /// The messages of a kind that were published under a name.
    pub(super) fn received(&self, name: &str, kind: u8) -> Vec<Message> {
        let streams = self.shared.streams.lock();
        let all = streams.get(name).into_iter().flatten();
        all.filter(|message| message.kind == kind)
            .cloned()
            .collect()
    }
}

async fn serve(mut connection: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut theirs = [0; 1 + HANDSHAKE_BYTES];
    connection.read_exact(&mut theirs).await.ok()?;
    let ours = [&[3][..], &[0; HANDSHAKE_BYTES], &theirs[1..]].concat();
    connection.write_all(&ours).await.ok()?;
    let mut echo = [0; HANDSHAKE_BYTES];
    connection.read_exact(&mut echo).await.ok()?;

    let mut reader = ChunkReader::new(MAX_MESSAGE_BYTES);
    let mut writer = ChunkWriter::default();
    writer.queue(&Message::control(
        SET_CHUNK_SIZE,
        CHUNK_SIZE.to_be_bytes().to_vec(),
    ));
    let (mut connect, mut name) = (Bytes::new(), String::new());
    loop {
        while let Some(message) = reader.next().ok()? {
            match message.kind {
                COMMAND => {
                    let command = Command::of(&message.payload)?;
                    if command.name == "connect" {
                        connect = message.payload.clone();
                    }
                    if let Some(answer) = command.answer(shared.four_ccs) {
                        writer.queue(&answer);
                        writer.flush(&mut connection).await.ok()?;
                    }
                    match &*command.name {
                        "publish" => {
                            name = command.argument;
                            let publish = (name.clone(), connect.clone());
                            shared.publishes.lock().push(publish);
                        }
                        "deleteStream" => shared.deleted.lock().push(name.clone()),
                        "play" => {
                            return send(connection, writer, &command.argument, &shared).await;
                        }
                        _ => {}
                    }
                }
                AUDIO | VIDEO | DATA => {
                    let mut streams = shared.streams.lock();
                    streams.entry(name.clone()).or_default().push(message);
                    shared.changed.send_replace(());
                }
                _ => {}
            }
        }
        if connection.read_buf(reader.input()).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends all messages of a stream to a player.
async fn send(
    mut connection: TcpStream,
    mut writer: ChunkWriter,
    name: &str,
    shared: &Shared,
) -> Option<()> {
    let mut changed = shared.changed.subscribe();
    let mut sent = 0;
    loop {
        let next: Vec<_> = {
            let streams = shared.streams.lock();
            let all = streams.get(name).into_iter().flatten();
            all.skip(sent).cloned().collect()
        };
        sent += next.len();
        for mut message in next {
            message.stream_id = STREAM_ID;
            writer.queue(&message);
        }
        writer.flush(&mut connection).await.ok()?;
        changed.changed().await.ok()?;
    }
}

struct Command {
    name: String,
    transaction: f64,
    /// The first argument that is a string: the name of a stream.
    argument: String,
}

impl Command {
    fn of(payload: &[u8]) -> Option<Self> {
        let text = |value| Some(String::from_utf8_lossy(amf0::string(value)?).into_owned());
        let (name, rest) = amf0::value(payload)?;
        let (transaction, mut rest) = amf0::value(rest)?;
        let mut argument = None;
        while let (None, Some((value, after))) = (&argument, amf0::value(rest)) {
            argument = text(value);
            rest = after;
        }
        Some(Self {
            name: text(name)?,
            transaction: amf0::number(transaction)?,
            argument: argument.unwrap_or_default(),
        })
    }

    fn answer(&self, four_ccs: &[&str]) -> Option<Message> {
        let mut out = Vec::new();
        let started = match &*self.name {
            "connect" | "createStream" => {
                amf0::write_string("_result", &mut out);
                amf0::write_number(self.transaction, &mut out);
                amf0::write_null(&mut out);
                if self.name == "createStream" {
                    amf0::write_number(STREAM_ID.into(), &mut out);
                } else if !four_ccs.is_empty() {
                    amf0::begin_object(&mut out);
                    amf0::write_name("fourCcList", &mut out);
                    amf0::write_strings(four_ccs, &mut out);
                    amf0::end_object(&mut out);
                }
                return Some(Message::control(COMMAND, out));
            }
            "publish" => "NetStream.Publish.Start",
            "play" => "NetStream.Play.Start",
            _ => return None,
        };
        amf0::write_string("onStatus", &mut out);
        amf0::write_number(0.0, &mut out);
        amf0::write_null(&mut out);
        amf0::begin_object(&mut out);
        for (name, text) in [("level", "status"), ("code", started)] {
            amf0::write_name(name, &mut out);
            amf0::write_string(text, &mut out);
        }
        amf0::end_object(&mut out);
        Some(Message::control(COMMAND, out))
    }
}
