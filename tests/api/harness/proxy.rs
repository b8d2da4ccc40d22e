use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream, lookup_host},
    task::{JoinHandle, JoinSet},
};

use super::TestDatabase;

/// A TCP proxy that can be cut: to take a database away from a server.
pub struct Proxy {
    pub address: SocketAddr,
    target: SocketAddr,
    running: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to a target, on a port of its own.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            address,
            target,
            running: Some(tokio::spawn(pass(listener, target))),
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
        self.running = Some(tokio::spawn(pass(listener, self.target)));
    }
}

async fn pass(listener: TcpListener, target: SocketAddr) {
    // Aborted with this task, and with it their sockets closed.
    let mut connections = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(target).await {
                // Ends with an error when either side breaks off, as it should.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
