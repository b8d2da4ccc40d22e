use std::{net::Ipv4Addr, time::Duration};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// How a proxy in front of a destination passes bytes on, after the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behavior {
    PassesOn,
    /// This many bytes in a second.
    Limits(u32),
    /// No more, without closing.
    ReadsNoMore,
    /// It resets the connection.
    Resets,
}

/// The bytes that it passes on first: the handshake and the commands.
const FIRST_BYTES: usize = 8_000;

/// A proxy to a destination.
pub(super) struct Proxy {
    pub(super) port: u16,
    /// Changes when all connections have to be reset.
    resets: watch::Sender<()>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(super) async fn start(behind: u16, behavior: Behavior) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // Accepted connections inherit it: the kernel acknowledges little that is not read.
        set_socket_recv_buffer_size(&listener, 4096).unwrap();
        let port = listener.local_addr().unwrap().port();
        let resets = watch::Sender::new(());
        let when = resets.clone();
        let task = tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let inside = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await;
                let mut reset = when.subscribe();
                tokio::spawn(async move {
                    // Dropped, it sends a reset.
                    set_socket_linger(&outside, Some(Duration::ZERO)).unwrap();
                    tokio::select! {
                        () = pass_on(outside, inside.unwrap(), behavior) => {}
                        _ = reset.changed() => {}
                    }
                });
            }
        });
        Self {
            port,
            resets,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    /// Resets all connections.
    pub(super) fn reset_all(&self) {
        self.resets.send_replace(());
    }
}

async fn pass_on(outside: TcpStream, inside: TcpStream, behavior: Behavior) {
    let (mut from, mut back) = outside.into_split();
    let (mut answers, mut to) = inside.into_split();
    let answering = async { tokio::io::copy(&mut answers, &mut back).await };
    let sending = async {
        pass_first(&mut from, &mut to).await?;
        pass_rest(&mut from, &mut to, behavior).await
    };
    tokio::select! {
        _ = answering => {}
        _ = sending => {}
    }
}

async fn pass_first(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> Option<()> {
    let (mut passed, mut buffer) = (0, vec![0; 1024]);
    while passed < FIRST_BYTES {
        let count = read(from, &mut buffer).await?;
        to.write_all(&buffer[..count]).await.ok()?;
        passed += count;
    }
    Some(())
}

async fn pass_rest(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    behavior: Behavior,
) -> Option<()> {
    let rate = match behavior {
        Behavior::PassesOn => u32::MAX,
        Behavior::Limits(rate) => rate,
        Behavior::ReadsNoMore => std::future::pending().await,
        Behavior::Resets => return None,
    };
    let (begin, mut passed, mut buffer) = (Instant::now(), 0_u64, vec![0; 16 * 1024]);
    loop {
        let count = read(from, &mut buffer).await?;
        to.write_all(&buffer[..count]).await.ok()?;
        passed += count as u64;
        let micros = passed * 1_000_000 / u64::from(rate);
        sleep_until(begin + Duration::from_micros(micros)).await;
    }
}

async fn read(from: &mut OwnedReadHalf, buffer: &mut [u8]) -> Option<usize> {
    from.read(buffer).await.ok().filter(|count| *count > 0)
}
