use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::Sandbox;

const PORT: u16 = 1935;

/// The network in front of a destination, which can break.
///
/// Like a broken network, it closes nothing when it breaks: connections that were open then
/// never carry a byte again, and new ones are not answered.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// Whether it is up, and how often it was reset.
    link: watch::Sender<Link>,
    /// The connections that were open when it broke.
    dead: Arc<Mutex<Vec<Connection>>>,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What passed.
#[derive(Debug, Default)]
struct Seen {
    open: AtomicUsize,
    deletes: AtomicUsize,
}

/// Both directions of a connection.
type Connection = [Way; 2];

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
        let dead = Arc::<Mutex<Vec<Connection>>>::default();
        let seen = Arc::<Seen>::default();
        let accepting = accept(
            listener,
            behind,
            link.clone(),
            Arc::clone(&dead),
            Arc::clone(&seen),
        );
        let task = tokio::spawn(accepting);
        Ok(Self {
            address,
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

    /// Breaks, and closes nothing.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.is_up = false);
    }

    /// Carries new connections again. Meanwhile the destination has given up the old ones.
    pub fn restore(&self) {
        self.dead.lock().clear();
        self.link.send_modify(|link| link.is_up = true);
    }

    /// Resets all open connections.
    pub fn reset(&self) {
        self.link.send_modify(|link| link.resets += 1);
    }
}

async fn accept(
    listener: TcpListener,
    behind: SocketAddr,
    link: watch::Sender<Link>,
    dead: Arc<Mutex<Vec<Connection>>>,
    seen: Arc<Seen>,
) {
    while let Ok((outside, _)) = listener.accept().await {
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
            let (outside_read, outside_write) = split(outside);
            let (inside_read, inside_write) = split(inside);
            let mut ways = [
                Way(outside_read, inside_write),
                Way(inside_read, outside_write),
            ];
            seen.open.fetch_add(1, Ordering::Relaxed);
            let none = AtomicUsize::new(0);
            let is_cut = {
                let [to, back] = &mut ways;
                tokio::select! {
                    () = to.carry(&seen.deletes), if before.is_up => false,
                    () = back.carry(&none), if before.is_up => false,
                    now = changed => now.is_ok_and(|now| now.resets == before.resets),
                }
            };
            if is_cut {
                dead.lock().push(ways);
            }
            seen.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// One direction of a connection.
#[derive(Debug)]
struct Way(ReadHalf<TcpStream>, WriteHalf<TcpStream>);

impl Way {
    async fn carry(&mut self, deletes: &AtomicUsize) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = self.0.read(&mut buffer).await {
            if buffer[..count]
                .windows(12)
                .any(|bytes| bytes == b"deleteStream")
            {
                deletes.fetch_add(1, Ordering::Relaxed);
            }
            if self.1.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }
}
