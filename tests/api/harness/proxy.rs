use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, lookup_host},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::TestDatabase;

/// A TCP proxy that can be cut: to take a database away from a server.
pub struct Proxy {
    pub address: SocketAddr,
    target: SocketAddr,
    running: Option<JoinHandle<()>>,
    temper: Temper,
}

/// How it passes on what comes.
#[derive(Clone)]
struct Temper {
    /// How often it has become silent, or spoken again: odd while it is silent.
    turns: watch::Sender<u32>,
    /// The request whose answer is lost.
    lost: Arc<Mutex<Option<&'static [u8]>>>,
}

impl Proxy {
    /// A proxy to a target, on a port of its own.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let temper = Temper {
            turns: watch::Sender::new(0),
            lost: Arc::default(),
        };
        let running = Some(tokio::spawn(pass(listener, target, temper.clone())));
        Self {
            address,
            target,
            running,
            temper,
        }
    }

    /// A proxy before a database of PostgreSQL, and the database as it is reached through it.
    pub async fn before(mut database: TestDatabase) -> (TestDatabase, Self) {
        let (start, rest) = database.url.split_once('@').unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let target = lookup_host(host).await.unwrap().next().unwrap();
        let proxy = Self::to(target).await;
        database.url = format!("{start}@{}/{name}", proxy.address);
        (database, proxy)
    }

    /// Closes all connections and refuses new ones.
    pub async fn cut(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }
    }

    /// Lets connections pass again.
    pub async fn mend(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let running = pass(listener, self.target, self.temper.clone());
        self.running = Some(tokio::spawn(running));
    }

    /// Lets connections pass again, to another target.
    pub async fn mend_to(&mut self, target: SocketAddr) {
        self.target = target;
        self.mend().await;
    }

    /// Keeps all connections, takes new ones, and passes nothing on, as a network that
    /// has forgotten them.
    pub fn hush(&self) {
        self.temper.turns.send_modify(|turns| *turns += 1);
    }

    /// Passes on what comes on new connections. The others stay silent.
    pub fn speak(&self) {
        self.temper.turns.send_modify(|turns| *turns += 1);
    }

    /// Cuts the next connection that asks for this, when the answer has come.
    pub fn lose_answer_to(&self, request: &'static [u8]) {
        *self.temper.lost.lock().unwrap() = Some(request);
    }
}

async fn pass(listener: TcpListener, target: SocketAddr, temper: Temper) {
    // Aborted with this task, and with it their sockets closed.
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let temper = temper.clone();
        connections.spawn(async move {
            if let Ok(far) = TcpStream::connect(target).await {
                connect(near, far, &temper).await;
            }
        });
    }
}

/// Passes on both ways, until either side breaks off.
async fn connect(near: TcpStream, far: TcpStream, temper: &Temper) {
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let asked = AtomicBool::new(false);
    let there = pump(near_in, far_out, temper, |bytes| {
        let mut lost = temper.lost.lock().unwrap();
        let is_asked = |request: &[u8]| bytes.windows(request.len()).any(|part| part == request);
        if lost.take_if(|request| is_asked(request)).is_some() {
            asked.store(true, Ordering::SeqCst);
        }
        true
    });
    let back = pump(far_in, near_out, temper, |_| !asked.load(Ordering::SeqCst));
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    temper: &Temper,
    passes: impl Fn(&[u8]) -> bool,
) {
    let turns = temper.turns.subscribe();
    let own = *turns.borrow();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = *turns.borrow();
        if now != own || now % 2 == 1 {
            return std::future::pending().await;
        }
        if !passes(&buffer[..count]) || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
