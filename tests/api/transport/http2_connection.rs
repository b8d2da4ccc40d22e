use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::http2_frames::{GOAWAY, HEADERS, RST_STREAM, hello};

/// What does not happen in this time never does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection of a peer that does as it likes.
pub struct Raw {
    pub stream: TcpStream,
}

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The error codes of GOAWAY frames.
    pub farewells: Vec<u32>,
    /// How many calls were answered.
    pub answers: usize,
    /// How many were reset.
    pub resets: usize,
}

impl Raw {
    /// A connection that has said nothing.
    pub async fn connect(address: impl tokio::net::ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream }
    }

    /// A connection that speaks HTTP/2, and is answered.
    pub async fn greeted(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(&hello()).await.unwrap();
        raw.next().await.expect("the server greets");
        raw
    }

    /// Sends bytes, as long as the server takes them.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next frame, if there is one before the end.
    pub async fn next(&mut self) -> Option<Frame> {
        next(&mut self.stream).await
    }

    /// The next frame of a kind, which must come.
    pub async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection goes on");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads until the server hangs up, which it has to.
    pub async fn ended(self) -> Ending {
        Self::ended_of(self.stream).await
    }

    /// The same of the reading half alone.
    pub async fn ended_of(mut stream: impl AsyncRead + Unpin) -> Ending {
        let mut ending = Ending::default();
        while let Some(frame) = next(&mut stream).await {
            match frame.kind {
                GOAWAY => {
                    let code = frame.payload[4..8].try_into().unwrap();
                    ending.farewells.push(u32::from_be_bytes(code));
                }
                HEADERS => ending.answers += 1,
                RST_STREAM => ending.resets += 1,
                _ => {}
            }
        }
        ending
    }
}

async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let frame = timeout(PATIENCE, read(stream)).await;
    frame.expect("the server says something or hangs up").ok()
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok(Frame {
        kind: head[3],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}
