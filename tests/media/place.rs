use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

use tokio::net::TcpStream;

static COUNT: AtomicU8 = AtomicU8::new(1);

/// Where one program runs: a loopback address that only it uses, so that its ports stay
/// free while it is away, and a folder that lies in another.
#[derive(Debug, Clone)]
pub struct Place {
    pub host: String,
    pub folder: PathBuf,
}

impl Place {
    /// A new one, with an empty folder of this name.
    pub fn new(within: &Path, name: &str) -> io::Result<Self> {
        let [.., high, low] = std::process::id().to_be_bytes();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Other tests have addresses from 127.x.y.1 on.
        let host = format!("127.{high}.{low}.{}", 254 - number % 160);
        let folder = within.join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self { host, folder })
    }

    /// The folder as text.
    pub fn path(&self) -> String {
        self.folder.display().to_string()
    }

    /// Whether something listens on a port.
    pub async fn listens(&self, port: u16) -> bool {
        TcpStream::connect((&*self.host, port)).await.is_ok()
    }
}
