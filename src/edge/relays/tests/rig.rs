use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    domain::{Secret, UrlPolicy},
    edge::{
        media_meters::MediaMeters,
        relays::{
            assignment::{Assignment, RelayInput},
            destination_check,
            media::Inputs,
            output::{PresetFolder, Spawner},
            relay::{Relay, RelayContext},
            relay_failure::RelayFailure,
            status::RelayStatus,
            upstream::Certificates,
        },
    },
    proto::v1::{self, RelayState},
};

/// How long a slow, loaded machine may take for anything.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(90);

/// A key that must not be shown anywhere.
pub(super) const KEY: &str = "k3y-that-nobody-may-see";

/// Waits for a condition.
pub(super) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(MAX_WAIT, wait).await.expect(what);
}

/// A port that nothing listens on.
pub(super) async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// nginx-rtmp with the application `source` for publishers, and the applications `live` and
/// `app/inst` for relays, which ask hooks and record.
pub(super) struct Nginx {
    pub(super) port: u16,
    process: Child,
    folder: TempDir,
}

impl Nginx {
    pub(super) async fn start(hooks: &str) -> Self {
        Self::start_with(hooks, "").await
    }

    /// With further directives of the RTMP server.
    pub(super) async fn start_with(hooks: &str, directives: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().await;
        let asks = format!("live on; on_publish {hooks}; on_publish_done {hooks};");
        let path = folder.path().display();
        let settings = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
            daemon off; master_process off; pid nginx.pid; error_log error.log info;
            events {{}}
            rtmp {{ server {{ listen 127.0.0.1:{port}; access_log off; {directives}
                application source {{ live on; }}
                application live {{ {asks} record all; record_path {path}; record_unique on; }}
                application app/inst {{ {asks} }} }} }}"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, settings).unwrap();
        let mut nginx = Self {
            port,
            process: launch(&file),
            folder,
        };
        nginx.listens().await;
        nginx
    }

    async fn listens(&mut self) {
        let port = self.port;
        eventually("nginx listens", async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_ok()
        })
        .await;
    }

    pub(super) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    pub(super) async fn start_again(&mut self) {
        self.process = launch(&self.folder.path().join("nginx.conf"));
        self.listens().await;
    }

    /// The URL of a stream in an application.
    pub(super) fn url(&self, application: &str, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{application}/{name}", self.port)
    }

    /// Where the relay of a test reads.
    pub(super) fn source(&self) -> String {
        self.url("source", "public-name")
    }

    /// The recordings in the application `live`, oldest first.
    pub(super) fn recordings(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut recordings: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|ext| ext == "flv"))
            .collect();
        recordings.sort();
        recordings
    }
}

fn launch(file: &Path) -> Child {
    Command::new("nginx")
        .arg("-p")
        .arg(file.parent().unwrap())
        .arg("-c")
        .arg(file)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// ffmpeg publishes a test picture in real time, with these options for the output.
pub(super) fn publish_with(url: &str, options: &[&str]) -> Child {
    Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-f", "lavfi", "-i"])
        .arg("testsrc=size=320x240:rate=25")
        .args(["-re", "-f", "lavfi", "-i", "sine=sample_rate=44100"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"])
        .args(["-tune", "zerolatency", "-pix_fmt", "yuv420p", "-c:a", "aac"])
        .args(["-ac", "2"])
        .args(options)
        .args(["-flvflags", "no_duration_filesize", "-f", "flv", url])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// What a publisher sends.
pub(super) struct Picture {
    /// Width and height.
    pub(super) size: &'static str,
    /// A source of audio of ffmpeg's.
    pub(super) audio: &'static str,
}

/// ffmpeg publishes a test picture and a tone in real time.
pub(super) fn publish(url: &str) -> Child {
    let picture = Picture {
        size: "160x120",
        audio: "sine=sample_rate=44100",
    };
    publish_picture(url, picture)
}

pub(super) fn publish_picture(url: &str, picture: Picture) -> Child {
    let Picture { size, audio } = picture;
    Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-f", "lavfi", "-i"])
        .arg(format!("testsrc=size={size}:rate=25"))
        .args(["-re", "-f", "lavfi", "-i", audio])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"])
        .args([
            "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-b:a", "32k",
        ])
        .args(["-f", "flv", url])
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

/// What the relays of a test share, as in one worker.
pub(super) struct Worker {
    context: Arc<RelayContext>,
    meters: MediaMeters,
    folder: TempDir,
}

impl Worker {
    pub(super) fn new() -> Self {
        Self::with(UrlPolicy {
            allow_private: true,
            ..UrlPolicy::default()
        })
    }

    /// With a policy for destinations.
    pub(super) fn with(policy: UrlPolicy) -> Self {
        Self::build(policy, Vec::new(), MAX_WAIT)
    }

    /// With authorities that destinations are verified with.
    pub(super) fn trusting(authorities: Vec<CertificateDer<'static>>) -> Self {
        let policy = UrlPolicy {
            allow_private: true,
            ..UrlPolicy::default()
        };
        Self::build(policy, authorities, MAX_WAIT)
    }

    /// That gives a relay up after this time without progress.
    pub(super) fn impatient(patience: Duration) -> Self {
        let policy = UrlPolicy {
            allow_private: true,
            ..UrlPolicy::default()
        };
        Self::build(policy, Vec::new(), patience)
    }

    fn build(
        policy: UrlPolicy,
        authorities: Vec<CertificateDer<'static>>,
        patience: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Arc::new(Certificates::new(authorities));
        let meters = MediaMeters::default();
        let context = Arc::new(RelayContext {
            ffmpeg: "ffmpeg".into(),
            patience,
            spawner: Spawner::unsupervised().unwrap(),
            presets: PresetFolder::new(folder.path()).unwrap(),
            policy,
            inputs: Inputs::new(Arc::clone(&certificates), meters.clone()),
            certificates,
            broadcasts: Cache::new(100),
            state_changed: Notify::new(),
        });
        Self {
            context,
            meters,
            folder,
        }
    }

    /// What is measured of the media of its relays, which all read one stream.
    pub(super) fn measured(&self) -> v1::StreamStats {
        self.meters.complete("", "", None).unwrap_or_default()
    }

    /// Checks a destination.
    pub(super) async fn check(&self, check: v1::DestinationCheck) -> v1::DestinationCheckReport {
        destination_check::run(check, &self.context).await
    }

    /// The text of all files that the worker has written.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let presets = std::fs::read_dir(self.folder.path().join("presets")).unwrap();
        presets.map(|entry| entry.unwrap().path()).collect()
    }

    /// Starts a relay to a server with the key.
    pub(super) fn relay(&self, input_url: &str, server_url: &str) -> Running {
        self.relay_with_key(input_url, server_url, KEY)
    }

    pub(super) fn relay_with_key(&self, input: &str, server_url: &str, key: &str) -> Running {
        self.assign(v1::RelayAssignment {
            input_url: input.to_owned(),
            output_server_url: server_url.to_owned(),
            output_stream_key: key.to_owned(),
            ..Default::default()
        })
    }

    pub(super) fn assign(&self, assignment: v1::RelayAssignment) -> Running {
        let stop = CancellationToken::new();
        let (status, receiver) = watch::channel(RelayStatus::new(RelayState::Starting));
        let assignment = Assignment::from(assignment);
        let (input, input_changes) = watch::channel(assignment.relay_input());
        let relay = Relay {
            assignment,
            input: input_changes,
            stop: stop.clone(),
            status,
            predecessors: Vec::new(),
        };
        let context = Arc::clone(&self.context);
        let task = tokio::spawn(async move { relay.run(&context).await });
        Running {
            stop,
            input,
            status: receiver,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// A relay that runs. It is aborted on drop.
pub(super) struct Running {
    stop: CancellationToken,
    input: watch::Sender<RelayInput>,
    status: watch::Receiver<RelayStatus>,
    _task: AbortOnDropHandle<()>,
}

impl Running {
    /// Its media comes from another URL.
    pub(super) fn follows(&self, url: &str) {
        let url = Secret::new(url);
        self.input.send_modify(|input| input.source.url = url);
    }

    /// Its outage policy changes.
    pub(super) fn holds(&self, holds: bool) {
        self.input.send_modify(|input| input.holds = holds);
    }

    /// Its stream has ended: it ends when it holds nothing back any more.
    pub(super) fn drains(&self) {
        self.input.send_modify(|input| input.has_ended = true);
    }

    /// Waits until it is in a state.
    pub(super) async fn reaches(&self, state: RelayState) -> RelayStatus {
        let mut status = self.status.clone();
        let reached = status.wait_for(|status| status.state == state);
        let reached = timeout(MAX_WAIT, reached)
            .await
            .map(|status| status.unwrap().clone());
        reached.unwrap_or_else(|_| panic!("{state:?} is not reached: {:?}", self.now()))
    }

    /// Waits until it has failed.
    pub(super) async fn failure(&self) -> RelayFailure {
        let mut status = self.status.clone();
        let failed = timeout(MAX_WAIT, status.wait_for(|status| status.failure.is_some())).await;
        let status = failed.expect("the relay fails").unwrap().clone();
        status.failure.unwrap()
    }

    /// Waits until this number of bytes was acknowledged.
    pub(super) async fn has_sent(&self, bytes: u64) {
        eventually("bytes are acknowledged", async || {
            assert_eq!(self.now().failure, None);
            self.now().bytes >= bytes
        })
        .await;
    }

    /// Waits until no bytes were sent for some seconds.
    pub(super) async fn is_silent(&self) {
        let mut last = (self.now().bytes, Instant::now());
        eventually("nothing is sent", async move || {
            if self.now().bytes != last.0 {
                last = (self.now().bytes, Instant::now());
            }
            last.1.elapsed() > Duration::from_secs(3)
        })
        .await;
    }

    pub(super) fn now(&self) -> RelayStatus {
        self.status.borrow().clone()
    }

    /// Stops it, and waits until it has ended.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.reaches(RelayState::Idle).await;
    }
}
