use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::http2_frames::{GOAWAY, HEADERS, RST_STREAM, client_preface};

/// The timeout of one read or write.
const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection on which a test sends any bytes and reads HTTP/2 frames.
pub struct Http2Connection {
    pub stream: TcpStream,
}

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What the server sent before it closed a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// The error codes of GOAWAY frames.
    pub goaways: Vec<u32>,
    /// The number of HEADERS frames.
    pub responses: usize,
    /// The number of RST_STREAM frames.
    pub resets: usize,
}

impl Http2Connection {
    /// Connects, and sends nothing yet.
    pub async fn connect(address: impl tokio::net::ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream }
    }

    /// Connects, sends the preface, and waits for the first frame of the server.
    pub async fn with_preface(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(&client_preface()).await.unwrap();
        raw.next().await.expect("the server sends its SETTINGS");
        raw
    }

    /// Sends bytes; fails if the server has stopped reading.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = timeout(IO_TIMEOUT, self.stream.write_all(bytes)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next frame; `None` if the server has closed the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        next(&mut self.stream).await
    }

    /// The next frame of a kind; skips others.
    pub async fn next_of_kind(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection stays open");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads next_of_kind the server closes the connection.
    pub async fn closed(self) -> ConnectionEnd {
        Self::read_to_end(self.stream).await
    }

    /// The same, for the reading half of a connection.
    pub async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> ConnectionEnd {
        let mut end = ConnectionEnd::default();
        while let Some(frame) = next(&mut stream).await {
            match frame.kind {
                GOAWAY => {
                    let code = frame.payload[4..8].try_into().unwrap();
                    end.goaways.push(u32::from_be_bytes(code));
                }
                HEADERS => end.responses += 1,
                RST_STREAM => end.resets += 1,
                _ => {}
            }
        }
        end
    }
}

async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let frame = timeout(IO_TIMEOUT, read(stream)).await;
    frame
        .expect("the server sends a frame or closes the connection")
        .ok()
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
