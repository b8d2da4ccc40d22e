use std::{
    net::SocketAddr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use socket2::{SockFilter, SockRef};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use super::Sandbox;

const PORT: u16 = 1935;

/// The network in front of a destination, which can break.
///
/// Like a broken network, it closes nothing when it breaks: the kernel drops every segment for
/// connections that were open then, and each request for a new one.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    /// Whether it is up, and how often it was reset.
    link: watch::Sender<Link>,
    /// The connections from outside that were open when it broke.
    dead: Arc<Mutex<Vec<TcpStream>>>,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What passed.
#[derive(Debug, Default)]
struct Seen {
    open: AtomicUsize,
    deletes: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Link {
    is_up: bool,
    resets: u32,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Passes connections to the address of a sandbox on to those of another, both at the port
    /// of RTMP.
    pub async fn start(sandbox: &Sandbox, behind: &Sandbox) -> anyhow::Result<Self> {
        let address: SocketAddr = format!("{}:{PORT}", sandbox.host).parse()?;
        let behind: SocketAddr = format!("{}:{PORT}", behind.host).parse()?;
        let (link, _) = watch::channel(Link {
            is_up: true,
            resets: 0,
        });
        let listener = TcpListener::bind(address).await?;
        // Accepted connections inherit it: the kernel acknowledges little that is not read.
        set_socket_recv_buffer_size(&listener, 4096)?;
        let listener = Arc::new(listener);
        let dead = Arc::<Mutex<Vec<TcpStream>>>::default();
        let seen = Arc::<Seen>::default();
        let accepting = accept(
            Arc::clone(&listener),
            behind,
            link.clone(),
            Arc::clone(&dead),
            Arc::clone(&seen),
        );
        let task = tokio::spawn(accepting);
        Ok(Self {
            address,
            listener,
            link,
            dead,
            seen,
            task,
        })
    }

    /// The URL of the application `open` of a destination behind it.
    pub fn url(&self) -> String {
        format!("rtmp://{}/open", self.address)
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// The number of `deleteStream` commands that publishers have sent.
    pub fn deletes(&self) -> usize {
        self.seen.deletes.load(Ordering::Relaxed)
    }

    /// Breaks, and closes nothing outside. The destination has given up the connections.
    pub fn cut(&self) -> anyhow::Result<()> {
        drop_all_segments(&*self.listener)?;
        self.link.send_modify(|link| link.is_up = false);
        Ok(())
    }

    /// Carries new connections again. The old ones stay dead.
    pub fn restore(&self) -> anyhow::Result<()> {
        self.link.send_modify(|link| link.is_up = true);
        SockRef::from(&*self.listener).detach_filter()?;
        Ok(())
    }

    /// Resets all open connections.
    pub fn reset(&self) {
        self.link.send_modify(|link| link.resets += 1);
    }
}

/// Makes the kernel drop whatever arrives for a socket.
fn drop_all_segments(socket: &impl AsFd) -> std::io::Result<()> {
    // `BPF_RET` with a constant: the number of bytes to keep.
    let filter = [SockFilter::new(6, 0, 0, 0)];
    SockRef::from(socket).attach_filter(&filter)
}

async fn accept(
    listener: Arc<TcpListener>,
    behind: SocketAddr,
    link: watch::Sender<Link>,
    dead: Arc<Mutex<Vec<TcpStream>>>,
    seen: Arc<Seen>,
) {
    while let Ok((mut outside, _)) = listener.accept().await {
        let mut link = link.subscribe();
        let before = *link.borrow_and_update();
        let (dead, seen) = (Arc::clone(&dead), Arc::clone(&seen));
        tokio::spawn(async move {
            let changed = async { link.wait_for(|now| *now != before).await.map(|now| *now) };
            let Ok(inside) = TcpStream::connect(behind).await else {
                return;
            };
            // Dropped, it sends a reset.
            let _ = set_socket_linger(&outside, Some(Duration::ZERO));
            seen.open.fetch_add(1, Ordering::Relaxed);
            let is_cut = tokio::select! {
                () = carry_both(&mut outside, inside, &seen.deletes), if before.is_up => false,
                now = changed => now.is_ok_and(|now| now.resets == before.resets),
            };
            if is_cut && drop_all_segments(&outside).is_ok() {
                dead.lock().push(outside);
            }
            seen.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Carries a connection until one of its sides ends it.
async fn carry_both(outside: &mut TcpStream, mut inside: TcpStream, deletes: &AtomicUsize) {
    let (from, back) = outside.split();
    let (answers, to) = inside.split();
    let none = AtomicUsize::new(0);
    tokio::select! {
        () = carry(from, to, deletes) => {}
        () = carry(answers, back, &none) => {}
    }
}

async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, deletes: &AtomicUsize) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if buffer[..count]
            .windows(12)
            .any(|bytes| bytes == b"deleteStream")
        {
            deletes.fetch_add(1, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
