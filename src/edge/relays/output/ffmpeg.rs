use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// The running executable, even after its file was replaced.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// The longest time between the end of the input, SIGTERM and SIGKILL.
const TERMINATE_TIMEOUT: Duration = Duration::from_millis(400);

/// How often the log is searched.
const LOG_INTERVAL: Duration = Duration::from_millis(500);

/// The longest wait for the end of stderr after the exit: another process may hold its pipe.
const STDERR_TIMEOUT: Duration = Duration::from_millis(500);

/// The most bytes of a progress line that are read.
const MAX_PROGRESS_LINE_BYTES: u64 = 1024;

/// The number of lines of stderr that are kept, and the length of each.
const MAX_LINES: usize = 8;
const MAX_LINE_BYTES: usize = 300;

/// A running ffmpeg, which copies or encodes media from its input. It is killed when this
/// is dropped, and when the edge ends in any way.
#[derive(Debug)]
pub(super) struct Ffmpeg {
    child: Child,
    process_group: Option<Pid>,
    bytes_written: Arc<AtomicU64>,
    stderr_tail: Arc<Mutex<StderrTail>>,
    stderr_reader: JoinHandle<()>,
}

type SpawnRequest = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts all processes from one thread.
///
/// The kernel can end a child with its parent (`PR_SET_PDEATHSIG`), where the parent is the
/// thread that started it. This thread lives as long as the spawner; the threads of the
/// runtime may end earlier.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<SpawnRequest>,
    /// The program that ties a process to this one, and its arguments.
    wrapper: Vec<OsString>,
}

impl Ffmpeg {
    /// Starts it, to send FLV from its input to a URL without secrets. The preset file has
    /// further options. Neither its command line nor its environment holds secrets.
    pub(super) async fn start(
        spawner: &Spawner,
        program: &Path,
        preset: &Path,
        url: &str,
    ) -> io::Result<Self> {
        let arguments = send_arguments(preset, url);
        let mut ffmpeg = Self::spawn(spawner, program, &arguments).await?;
        if let Some(progress) = ffmpeg.child.stdout.take() {
            let bytes_written = Arc::clone(&ffmpeg.bytes_written);
            tokio::spawn(read_progress(progress, bytes_written));
        }
        Ok(ffmpeg)
    }

    /// Starts it, to encode FLV from its input with these options for the video, and to write
    /// FLV to its output.
    pub(super) async fn encode(
        spawner: &Spawner,
        program: &Path,
        video: &[String],
    ) -> io::Result<(Self, ChildStdout)> {
        let copied = [
            "-c:a",
            "copy",
            "-f",
            "flv",
            "-flvflags",
            "no_duration_filesize",
        ];
        let rest = copied.into_iter().chain(["pipe:1"]);
        let arguments = video.iter().map(OsString::from);
        let arguments: Vec<_> = arguments.chain(rest.map(OsString::from)).collect();
        let mut ffmpeg = Self::spawn(spawner, program, &arguments).await?;
        let no_output = || io::Error::other("the process has no output");
        let media = ffmpeg.child.stdout.take().ok_or_else(no_output)?;
        Ok((ffmpeg, media))
    }

    async fn spawn(spawner: &Spawner, program: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let mut child = spawner
            .spawn(command(&spawner.wrapper, program, arguments))
            .await?;
        let process_group = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let stderr_tail = Arc::default();
        let stderr_reader =
            tokio::spawn(read_stderr(child.stderr.take(), Arc::clone(&stderr_tail)));
        Ok(Self {
            child,
            process_group,
            bytes_written: Arc::default(),
            stderr_tail,
            stderr_reader,
        })
    }

    /// The number of bytes that it has written, from its progress output.
    pub(super) fn bytes_written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_written)
    }

    /// Its input, once.
    pub(super) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until it has logged a line with this text.
    pub(super) fn logs(&self, text: &'static str) -> impl Future<Output = ()> + use<> {
        let tail = Arc::clone(&self.stderr_tail);
        async move {
            while !tail.lock().has(text) {
                sleep(LOG_INTERVAL).await;
            }
        }
    }

    pub(super) async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it in less than a second. Its input has ended before, so that it ends by itself;
    /// otherwise SIGTERM and SIGKILL follow.
    pub(super) async fn terminate(&mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            if timeout(TERMINATE_TIMEOUT, self.child.wait()).await.is_ok() {
                return;
            }
            self.signal(signal);
        }
        let _ = self.child.wait().await;
    }

    /// The last lines of stderr after the exit.
    pub(super) async fn stderr_lines(mut self) -> Vec<String> {
        let _ = timeout(STDERR_TIMEOUT, &mut self.stderr_reader).await;
        self.stderr_tail.lock().take()
    }

    fn signal(&self, signal: Signal) {
        // After `wait` the process id may belong to another process.
        if let (Some(process_group), Some(_)) = (self.process_group, self.child.id()) {
            let _ = kill_process_group(process_group, signal);
        }
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.stderr_reader.abort();
    }
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Self> {
        let parent = std::process::id().to_string();
        let wrapper = [OWN_EXECUTABLE, "run-child", "--parent", &parent, "--"];
        Self::with_wrapper(wrapper.map(OsString::from).to_vec())
    }

    /// Starts processes with `env` only, for tests: this program is no `sluice`.
    #[cfg(test)]
    pub(crate) fn unsupervised() -> io::Result<Self> {
        Self::with_wrapper(vec![OsString::from("/usr/bin/env")])
    }

    fn with_wrapper(wrapper: Vec<OsString>) -> io::Result<Self> {
        let (requests, received) = mpsc::channel::<SpawnRequest>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("relays".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                while let Ok((mut command, reply)) = received.recv() {
                    // If the caller is gone, the child is dropped, which ends it.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self { requests, wrapper })
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, replied) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.requests.send((command, reply)).map_err(|_| gone())?;
        replied.await.map_err(|_| gone())?
    }
}

/// Copies media to a URL.
fn send_arguments(preset: &Path, url: &str) -> Vec<OsString> {
    let progress = [
        "-progress",
        "pipe:1",
        "-stats_period",
        "1",
        "-c",
        "copy",
        "-fpre",
    ];
    let output = ["-f", "mpegts", url].map(OsString::from);
    let mut arguments: Vec<_> = progress.map(OsString::from).into();
    arguments.push(preset.into());
    arguments.extend(output);
    arguments
}

/// The command that reads FLV from its input, with these options for its output.
fn command(wrapper: &[OsString], program: &Path, arguments: &[OsString]) -> Command {
    let mut words = wrapper
        .iter()
        .map(OsString::as_os_str)
        .chain([program.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .args(["-hide_banner", "-nostats"])
        .args(["-loglevel", "level+warning"])
        // Descriptions come first: a second of media is enough to know all codecs.
        .args(["-probesize", "2000000", "-analyzeduration", "1000000"])
        .args(["-f", "flv", "-i", "pipe:0"])
        .args(["-map", "0:v:0?", "-map", "0:a:0?"])
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Signals of a terminal to the edge must not reach it.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Reads ffmpeg's progress: lines such as `total_size=1234`.
async fn read_progress(progress: ChildStdout, bytes_written: Arc<AtomicU64>) {
    let mut progress = BufReader::new(progress);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut progress)
        .take(MAX_PROGRESS_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .await
    {
        if let Some(bytes) = total_size(&line) {
            bytes_written.store(bytes, Ordering::Relaxed);
        }
        line.clear();
    }
}

fn total_size(line: &[u8]) -> Option<u64> {
    let number = line.strip_prefix(b"total_size=")?.trim_ascii();
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Reads all of stderr, and keeps its last lines.
async fn read_stderr(stderr: Option<ChildStderr>, tail: Arc<Mutex<StderrTail>>) {
    let Some(mut stderr) = stderr else {
        return;
    };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        tail.lock().push(&buffer[..count]);
    }
}

/// The last lines of a process's stderr, in bounded memory.
#[derive(Debug, Default)]
struct StderrTail {
    lines: VecDeque<String>,
    open_line: Vec<u8>,
}

impl StderrTail {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                _ if self.open_line.len() < MAX_LINE_BYTES => self.open_line.push(*byte),
                _ => {}
            }
        }
    }

    /// Whether a complete line contains a text.
    fn has(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// Takes the lines, oldest first.
    fn take(&mut self) -> Vec<String> {
        self.end_line();
        std::mem::take(&mut self.lines).into()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.open_line))
            .trim()
            .to_owned();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_total_size_of_the_progress_is_read() {
        for (line, size) in [
            ("total_size=1234\n", Some(1234)),
            ("total_size=N/A\n", None),
            ("out_time_ms=99\n", None),
            ("progress=continue\n", None),
            ("", None),
        ] {
            assert_eq!(total_size(line.as_bytes()), size, "{line}");
        }
    }

    #[test]
    fn lines_are_assembled_from_any_chunks() {
        let mut lines = StderrTail::default();
        for part in ["[err", "or] a\r\n\n", "  b", "\nc"] {
            lines.push(part.as_bytes());
        }
        assert_eq!(lines.take(), ["[error] a", "b", "c"]);
    }

    #[test]
    fn the_last_lines_and_the_start_of_long_ones_are_kept() {
        let mut lines = StderrTail::default();
        for number in 0..100 {
            lines.push(format!("{number} {}\n", "x".repeat(10_000)).as_bytes());
        }
        let kept = lines.take();
        assert_eq!(kept.len(), MAX_LINES);
        assert!(kept.iter().all(|line| line.len() == MAX_LINE_BYTES));
        assert!(kept[0].starts_with("92 "));
    }
}
