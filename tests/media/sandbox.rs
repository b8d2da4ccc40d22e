use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

use tokio::net::TcpStream;

static COUNT: AtomicU8 = AtomicU8::new(1);

/// The environment of one program: a loopback address that only it uses, so that its ports stay
/// free while it is down, and a folder.
#[derive(Debug, Clone)]
pub struct Sandbox {
    pub host: String,
    pub folder: PathBuf,
}

impl Sandbox {
    /// A new sandbox, with an empty folder of this name.
    pub fn new(within: &Path, name: &str) -> io::Result<Self> {
        let [.., high, low] = std::process::id().to_be_bytes();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Other tests use addresses from 127.x.y.1 on.
        let host = format!("127.{high}.{low}.{}", 254 - number % 160);
        let folder = within.join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self { host, folder })
    }

    /// The path of the folder.
    pub fn path(&self) -> String {
        self.folder.display().to_string()
    }

    /// Whether a program listens on a port.
    pub async fn listens(&self, port: u16) -> bool {
        TcpStream::connect((&*self.host, port)).await.is_ok()
    }
}
