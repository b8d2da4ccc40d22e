use std::{net::Ipv4Addr, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    domain::{Secret, UrlPolicy},
    edge::relays::{
        carrier::{Carrier, Output},
        relay_failure::RelayFailure,
    },
};

/// How long a slow, loaded machine may take for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Everything may be connected to.
pub(super) fn open_policy() -> UrlPolicy {
    UrlPolicy {
        allow_private: true,
        ..UrlPolicy::default()
    }
}

/// Waits for what is true in time.
pub(super) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect(what);
}

/// What a carrier fails of.
pub(super) async fn fault_of(carrier: &Carrier) -> RelayFailure {
    let failed = timeout(PATIENCE, carrier.failed()).await;
    failed.expect("the carrier fails in time")
}

/// A port that nothing listens on.
pub(super) async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// nginx-rtmp with the applications `live` and `app/inst`, which ask `on_publish`.
pub(super) struct Nginx {
    pub(super) port: u16,
    process: Child,
    _folder: TempDir,
}

impl Nginx {
    pub(super) async fn start(on_publish: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().await;
        let settings = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
            daemon off; master_process off; pid nginx.pid; error_log error.log info;
            events {{}}
            rtmp {{ server {{ listen 127.0.0.1:{port}; access_log off;
                application live {{ live on; on_publish {on_publish}; }}
                application app/inst {{ live on; on_publish {on_publish}; }} }} }}"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, settings).unwrap();
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("nginx listens", async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_ok()
        })
        .await;
        Self {
            port,
            process,
            _folder: folder,
        }
    }

    pub(super) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }
}

/// ffmpeg publishes a test picture at its own pace.
pub(super) fn publish(carrier: &Carrier) -> Child {
    let codec = match carrier.format() {
        "flv" => "flv",
        _ => "mpeg2video",
    };
    Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-f", "lavfi", "-i"])
        .arg("testsrc=size=160x120:rate=25")
        .args(["-c:v", codec, "-g", "25"])
        .args(["-f", carrier.format(), carrier.local_url()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The command lines of all processes.
pub(super) fn command_lines() -> String {
    let folders = std::fs::read_dir("/proc").unwrap();
    let lines = folders.filter_map(|folder| {
        let line = std::fs::read(folder.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) async fn sending(url: &str) -> Carrier {
    let carrier = Carrier::sending(&joined(url), &open_policy()).await;
    carrier.expect("the address can be sent to")
}

/// An address with its key in it.
pub(super) fn joined(url: &str) -> Output {
    Output::Joined(Secret::new(url))
}
