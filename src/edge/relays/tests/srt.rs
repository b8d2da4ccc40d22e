use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::{
    net::UdpSocket,
    process::{Child, Command},
    time::timeout,
};

use super::{
    hooks::Hooks,
    rig::{MAX_WAIT, Nginx, Worker, command_lines, eventually, publish},
};
use crate::proto::v1::{RelayAssignment, RelayErrorSeverity};

const KEY: &str = "#!::r=live/str3am-id-that-nobody-may-see,m=publish";
const PASSPHRASE: &str = "a passphrase that nobody may see";

/// The time that a busy machine has to send packets again, in microseconds.
const LATENCY_US: u32 = 4_000_000;

pub(super) async fn socket() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

pub(super) fn assignment(input: &str, port: u16, passphrase: &str) -> RelayAssignment {
    RelayAssignment {
        input_url: input.to_owned(),
        output_server_url: format!("srt://127.0.0.1:{port}?latency={LATENCY_US}"),
        output_stream_key: KEY.to_owned(),
        srt_passphrase: passphrase.to_owned(),
        srt_pbkeylen: if passphrase.is_empty() { 0 } else { 32 },
        ..Default::default()
    }
}

/// Answers the first question of a handshake, and returns the second.
async fn conclusion(listener: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    let mut packet = [0; 2048];
    loop {
        let (length, from) = listener.recv_from(&mut packet).await.unwrap();
        if packet[36..40] == [0xff; 4] {
            return (packet[..length].to_vec(), from);
        }
        let mut answer = packet[..64].to_vec();
        let caller: [u8; 4] = answer[40..44].try_into().unwrap();
        answer[12..16].copy_from_slice(&caller);
        answer[16..20].copy_from_slice(&5_u32.to_be_bytes());
        answer[22..24].copy_from_slice(&0x4a17_u16.to_be_bytes());
        answer[44..48].copy_from_slice(b"cook");
        listener.send_to(&answer, from).await.unwrap();
    }
}

/// The stream id in the bytes of a conclusion: words whose bytes are reversed.
fn stream_id(conclusion: &[u8]) -> String {
    let mut at = 64;
    while conclusion[at..at + 2] != [0, 5] {
        at += 4 + 4 * usize::from(conclusion[at + 3]);
    }
    let words = usize::from(conclusion[at + 3]);
    let words = conclusion[at + 4..at + 4 + 4 * words].chunks(4);
    let bytes: Vec<u8> = words.flat_map(|word| word.iter().rev()).copied().collect();
    let text = String::from_utf8(bytes).unwrap();
    text.trim_end_matches('\0').to_owned()
}

/// An SRT listener that records what it receives.
pub(super) struct Recorder {
    pub(super) port: u16,
    file: PathBuf,
    process: Child,
    folder: TempDir,
}

impl Recorder {
    pub(super) async fn start(passphrase: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("received.ts");
        let (probe, port) = socket().await;
        drop(probe);
        let output = ["-c", "copy", "-f", "mpegts", file.to_str().unwrap()];
        Self {
            port,
            process: start_listener(port, passphrase, &output).await,
            file,
            folder,
        }
    }

    /// The file and its folder, once the caller has closed the connection.
    pub(super) async fn finished(mut self) -> (PathBuf, TempDir) {
        let ended = timeout(MAX_WAIT, self.process.wait()).await;
        assert!(ended.expect("the call ends").unwrap().success());
        (self.file, self.folder)
    }
}

/// An SRT listener that receives some seconds of media.
async fn listen(port: u16, passphrase: &str) -> Child {
    start_listener(port, passphrase, &["-t", "1", "-f", "null", "-"]).await
}

async fn start_listener(port: u16, passphrase: &str, output: &[&str]) -> Child {
    let mut url = format!("srt://127.0.0.1:{port}?mode=listener");
    if !passphrase.is_empty() {
        url = format!("{url}&passphrase={passphrase}");
    }
    let listener = Command::new("ffmpeg")
        .args(["-v", "error", "-i", &url])
        .args(output)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    listens(port).await;
    listener
}

/// Waits until something listens on a UDP port.
pub(super) async fn listens(port: u16) {
    let listens = format!(":{port:04X} ");
    eventually("the listener listens", async || {
        let sockets = std::fs::read_to_string("/proc/net/udp").unwrap();
        sockets.contains(&listens)
    })
    .await;
}

#[tokio::test]
async fn a_listener_is_told_the_stream_id_which_no_process_list_shows_and_may_refuse_it() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let (listener, port) = socket().await;
    let worker = Worker::new();
    let relay = worker.assign(assignment(&nginx.source(), port, PASSPHRASE));

    let asked = timeout(MAX_WAIT, conclusion(&listener)).await;
    let (mut packet, from) = asked.expect("ffmpeg calls");
    assert_eq!(stream_id(&packet), KEY);
    let lines = command_lines();
    assert!(!lines.contains("str3am-id-that-nobody-may-see") && !lines.contains(PASSPHRASE));
    for file in worker.files() {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    let caller: [u8; 4] = packet[40..44].try_into().unwrap();
    packet.truncate(64);
    packet[12..16].copy_from_slice(&caller);
    packet[36..40].copy_from_slice(&2403_u32.to_be_bytes());
    listener.send_to(&packet, from).await.unwrap();
    let failure = relay.failure().await;
    assert_eq!(failure.code, "DESTINATION_REFUSED", "{}", failure.message);
    assert_eq!(failure.severity, RelayErrorSeverity::Retryable);
    assert!(worker.files().is_empty());
}

#[tokio::test]
async fn a_listener_receives_media_with_or_without_a_passphrase_until_it_goes() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    // A track that begins late would need another ffmpeg, which finds nobody who listens any more:
    // CONNECT_TIMEOUT. So the media server has media of both tracks before.
    let server = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let player = worker.relay(&nginx.source(), &server);
    eventually("both tracks play", async || {
        let measured = worker.measured();
        measured.has_audio == Some(true) && measured.width > 0
    })
    .await;
    // The listener is no process of the edge: its command line shows its passphrase.
    for passphrase in ["", "a passphrase that all may see"] {
        let (probe, port) = socket().await;
        drop(probe);
        let mut listener = listen(port, passphrase).await;
        let relay = worker.assign(assignment(&nginx.source(), port, passphrase));
        let ended = timeout(MAX_WAIT, listener.wait()).await;
        assert!(ended.expect("media is received").unwrap().success());
        let failure = relay.failure().await;
        assert_eq!(failure.code, "DESTINATION_LOST", "{}", failure.message);
    }
    player.end().await;
}

#[tokio::test]
async fn another_passphrase_is_refused_and_said_so() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let (probe, port) = socket().await;
    drop(probe);
    let _listener = listen(port, "quite another passphrase").await;
    let worker = Worker::new();
    let relay = worker.assign(assignment(&nginx.source(), port, PASSPHRASE));
    let failure = relay.failure().await;
    assert_eq!(failure.code, "DESTINATION_REFUSED", "{}", failure.message);
    assert!(
        failure.message.contains("passphrase"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn where_nobody_listens_the_call_is_not_answered() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let (probe, port) = socket().await;
    drop(probe);
    let worker = Worker::new();
    let relay = worker.assign(assignment(&nginx.source(), port, ""));
    let failure = relay.failure().await;
    assert_eq!(failure.code, "CONNECT_TIMEOUT", "{}", failure.message);
}
