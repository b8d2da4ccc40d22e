use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, lookup_host},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{TestDatabase, eventually, round_trips::RoundTrips};

/// A TCP proxy that simulates network faults.
pub struct Proxy {
    pub address: SocketAddr,
    target: SocketAddr,
    task: Option<JoinHandle<()>>,
    faults: Faults,
}

/// The faults that all connections of a proxy share.
#[derive(Clone)]
struct Faults {
    /// The number of changes between forwarding and discarding; odd while bytes are discarded.
    blackhole_changes: watch::Sender<u32>,
    /// The request whose response is dropped.
    dropped: Arc<Mutex<Option<DroppedRequest>>>,
    /// Whether the target is PostgreSQL, and the round trips of all connections then.
    is_postgres: Arc<AtomicBool>,
    round_trips: Arc<AtomicUsize>,
    /// The seed of the random delays of messages; `None` without delays.
    delays: Arc<Mutex<Option<u64>>>,
}

/// The longest random delay of a message.
const MAX_DELAY_MS: u64 = 10;

/// A request whose response is dropped, on a connection that has sent `after` before it.
#[derive(Clone, Copy)]
struct DroppedRequest {
    after: &'static [u8],
    request: &'static [u8],
}

impl Proxy {
    /// A proxy to a target, on a free port.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Faults {
            blackhole_changes: watch::Sender::new(0),
            dropped: Arc::default(),
            is_postgres: Arc::default(),
            round_trips: Arc::default(),
            delays: Arc::default(),
        };
        let task = Some(tokio::spawn(serve(listener, target, faults.clone())));
        Self {
            address,
            target,
            task,
            faults,
        }
    }

    /// A proxy to a PostgreSQL database, and the database with the URL of the proxy.
    pub async fn to_database(mut database: TestDatabase) -> (TestDatabase, Self) {
        let (start, rest) = database.url.split_once('@').unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let target = lookup_host(host).await.unwrap().next().unwrap();
        let proxy = Self::to(target).await;
        proxy.faults.is_postgres.store(true, Ordering::SeqCst);
        database.url = format!("{start}@{}/{name}", proxy.address);
        (database, proxy)
    }

    /// The number of round trips to PostgreSQL so far.
    pub fn round_trips(&self) -> usize {
        self.faults.round_trips.load(Ordering::SeqCst)
    }

    /// Delays every message of both directions by a random time of at most 10 ms.
    pub fn delay_messages(&self, seed: u64) {
        *self.faults.delays.lock().unwrap() = Some(seed);
    }

    /// Closes all connections and refuses new ones.
    pub async fn disconnect(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }

    /// Accepts connections again.
    pub async fn reconnect(&mut self) {
        // A connection of another test may have the port for a moment.
        let listener = eventually("the port is free", async || {
            TcpListener::bind(self.address).await.ok()
        })
        .await;
        let serving = serve(listener, self.target, self.faults.clone());
        self.task = Some(tokio::spawn(serving));
    }

    /// Accepts connections again, to another target.
    pub async fn reconnect_to(&mut self, target: SocketAddr) {
        self.target = target;
        self.reconnect().await;
    }

    /// Discards all bytes, but keeps connections open and accepts new ones.
    pub fn blackhole(&self) {
        self.faults.toggle_blackhole();
    }

    /// Forwards the bytes of new connections again. Older connections stay silent.
    pub fn forward(&self) {
        self.faults.toggle_blackhole();
    }

    /// Closes the next connection that sends this request when its response arrives.
    pub fn drop_response_to(&self, request: &'static [u8]) {
        self.drop_response_after(b"", request);
    }

    /// Closes the next connection that sends `after` and then this request, when the
    /// response to the request arrives.
    pub fn drop_response_after(&self, after: &'static [u8], request: &'static [u8]) {
        let dropped = DroppedRequest { after, request };
        *self.faults.dropped.lock().unwrap() = Some(dropped);
    }
}

impl Faults {
    /// The delay of the next message (SplitMix64).
    fn next_delay(&self) -> Option<Duration> {
        let mut delays = self.delays.lock().unwrap();
        let state = delays.as_mut()?;
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(Duration::from_millis((mixed >> 32) % (MAX_DELAY_MS + 1)))
    }

    fn toggle_blackhole(&self) {
        self.blackhole_changes.send_modify(|changes| *changes += 1);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, faults: Faults) {
    // Aborting this task drops the set, which aborts the connection tasks.
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let faults = faults.clone();
        connections.spawn(async move {
            if let Ok(upstream) = TcpStream::connect(target).await {
                proxy_connection(client, upstream, &faults).await;
            }
        });
    }
}

/// Forwards both directions until one of them ends.
async fn proxy_connection(client: TcpStream, upstream: TcpStream, faults: &Faults) {
    let (client_read, client_write) = client.into_split();
    let (upstream_read, upstream_write) = upstream.into_split();
    let drops_response = AtomicBool::new(false);
    let has_sent_first = AtomicBool::new(false);
    let messages = Mutex::new(RoundTrips::default());
    let requests = copy(client_read, upstream_write, faults, |bytes| {
        if faults.is_postgres.load(Ordering::SeqCst) {
            let round_trips = messages.lock().unwrap().count(bytes);
            faults.round_trips.fetch_add(round_trips, Ordering::SeqCst);
        }
        let mut dropped = faults.dropped.lock().unwrap();
        if let Some(DroppedRequest { after, request }) = *dropped {
            if contains(bytes, after) {
                has_sent_first.store(true, Ordering::SeqCst);
            }
            if has_sent_first.load(Ordering::SeqCst) && contains(bytes, request) {
                *dropped = None;
                drops_response.store(true, Ordering::SeqCst);
            }
        }
        true
    });
    let responses = copy(upstream_read, client_write, faults, |_| {
        !drops_response.load(Ordering::SeqCst)
    });
    tokio::select! {
        () = requests => {}
        () = responses => {}
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Copies bytes until the end of the stream, an error, or bytes that `forwards` rejects.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    faults: &Faults,
    forwards: impl Fn(&[u8]) -> bool,
) {
    let changes = faults.blackhole_changes.subscribe();
    let at_start = *changes.borrow();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = *changes.borrow();
        if now != at_start || now % 2 == 1 {
            return std::future::pending().await;
        }
        if let Some(delay) = faults.next_delay() {
            sleep(delay).await;
        }
        if !forwards(&buffer[..count]) || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
