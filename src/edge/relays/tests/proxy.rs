use std::{net::Ipv4Addr, os::fd::AsFd, sync::Arc, time::Duration};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use socket2::{SockFilter, SockRef};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
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

/// What happens to all connections.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Reset,
    Cut,
}

/// A proxy to a destination.
pub(super) struct Proxy {
    pub(super) port: u16,
    listener: Arc<TcpListener>,
    faults: watch::Sender<Fault>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(super) async fn start(behind: u16, behavior: Behavior) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // Accepted connections inherit it: the kernel acknowledges little that is not read.
        set_socket_recv_buffer_size(&listener, 4096).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = Arc::new(listener);
        let faults = watch::Sender::new(Fault::None);
        let (accepting, happens) = (Arc::clone(&listener), faults.clone());
        let task = tokio::spawn(async move {
            while let Ok((outside, _)) = accepting.accept().await {
                let inside = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await;
                let faults = happens.subscribe();
                tokio::spawn(serve(outside, inside.unwrap(), behavior, faults));
            }
        });
        Self {
            port,
            listener,
            faults,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    /// Resets all connections.
    pub(super) fn reset_all(&self) {
        self.faults.send_replace(Fault::Reset);
    }

    /// Answers nothing any more, as if the cable were cut: neither on the connections nor to
    /// requests for new ones. The destination has noticed.
    pub(super) fn cut(&self) {
        drop_all_segments(&*self.listener);
        self.faults.send_replace(Fault::Cut);
    }

    /// Accepts new connections. Those from before the cut stay dead.
    pub(super) fn restore(&self) {
        SockRef::from(&*self.listener).detach_filter().unwrap();
    }
}

/// Makes the kernel drop whatever arrives for a socket.
pub(super) fn drop_all_segments(socket: &impl AsFd) {
    // `BPF_RET` with a constant: the number of bytes to keep.
    let filter = [SockFilter::new(6, 0, 0, 0)];
    SockRef::from(socket).attach_filter(&filter).unwrap();
}

async fn serve(
    mut outside: TcpStream,
    inside: TcpStream,
    behavior: Behavior,
    mut faults: watch::Receiver<Fault>,
) {
    // Dropped, it sends a reset.
    set_socket_linger(&outside, Some(Duration::ZERO)).unwrap();
    tokio::select! {
        () = pass_on(&mut outside, inside, behavior) => {}
        _ = faults.changed() => {}
    }
    let fault = *faults.borrow();
    if matches!(fault, Fault::Cut) {
        drop_all_segments(&outside);
        std::future::pending::<()>().await;
    }
}

async fn pass_on(outside: &mut TcpStream, mut inside: TcpStream, behavior: Behavior) {
    let (mut from, mut back) = outside.split();
    let (mut answers, mut to) = inside.split();
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

async fn pass_first(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> Option<()> {
    let (mut passed, mut buffer) = (0, vec![0; 1024]);
    while passed < FIRST_BYTES {
        let count = read(from, &mut buffer).await?;
        to.write_all(&buffer[..count]).await.ok()?;
        passed += count;
    }
    Some(())
}

async fn pass_rest(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
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

async fn read(from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> Option<usize> {
    from.read(buffer).await.ok().filter(|count| *count > 0)
}
