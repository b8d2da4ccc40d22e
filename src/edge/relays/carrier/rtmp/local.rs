use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{
    handshake,
    rewriter::{LocalName, Rewriter},
};
use crate::edge::relays::carrier::{address::RtmpAddress, random::random_name};

/// How long a connection may take to say what it wants.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections are looked at until one is ffmpeg's.
const TRIES: usize = 8;

/// Where ffmpeg is waited for.
pub(super) struct Local {
    listener: TcpListener,
    port: u16,
    name: LocalName,
}

/// ffmpeg's connection, up to its `connect`.
pub(super) struct Accepted {
    /// The connection.
    pub(super) stream: TcpStream,
    /// Has read what came so far.
    pub(super) rewriter: Rewriter,
    /// What it has written of that.
    pub(super) out: Vec<u8>,
}

impl Local {
    /// Listens on a port of this machine's own.
    pub(super) async fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            port: listener.local_addr()?.port(),
            listener,
            name: LocalName {
                app: format!("relay/{}", random_name()),
                stream: "media",
            },
        })
    }

    /// What ffmpeg is given.
    pub(super) fn url(&self) -> String {
        let LocalName { app, stream } = &self.name;
        format!("rtmp://127.0.0.1:{}/{app}/{stream}", self.port)
    }

    /// Takes the first connection that names our application, and listens no more; `None`
    /// after too many that do not. One that says nothing holds up no other.
    pub(super) async fn accept(self, far: &RtmpAddress) -> Option<Accepted> {
        let mut asked = JoinSet::new();
        let mut tries = 0;
        loop {
            tokio::select! {
                connection = self.listener.accept(), if tries < TRIES => {
                    tries += 1;
                    if let Ok((stream, _)) = connection {
                        let rewriter = Rewriter::new(self.name.clone(), far.clone());
                        asked.spawn(timeout(IDENTIFY_TIMEOUT, identify(stream, rewriter)));
                    }
                }
                Some(done) = asked.join_next() => {
                    if let Ok(Ok(Ok(Some(accepted)))) = done {
                        return Some(accepted);
                    }
                }
                else => return None,
            }
        }
    }
}

/// Reads up to `connect`; `None` if it names another application.
async fn identify(mut stream: TcpStream, mut rewriter: Rewriter) -> io::Result<Option<Accepted>> {
    stream.set_nodelay(true)?;
    handshake::as_server(&mut stream).await?;
    let mut out = Vec::new();
    let mut buffer = vec![0; 4096];
    while rewriter.connected().is_none() {
        let read = stream.read(&mut buffer).await?;
        let is_sound = rewriter.feed(&buffer[..read], &mut out).is_ok();
        if read == 0 || !is_sound || out.len() > buffer.len() {
            return Ok(None);
        }
    }
    let is_ours = rewriter.connected() == Some(true);
    Ok(is_ours.then_some(Accepted {
        stream,
        rewriter,
        out,
    }))
}
