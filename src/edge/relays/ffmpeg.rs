use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{carrier::Carrier, spawner::Spawner, stderr_tail::LastLines};

/// This program itself, also after its file was replaced.
const SELF: &str = "/proc/self/exe";

/// How long ffmpeg may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long its last words may take to come when it has ended: another process may
/// have its pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How much of a line of progress is read.
const PROGRESS_LINE: u64 = 1024;

/// A running ffmpeg, which copies media from one carrier to another. It ends when this
/// is dropped, and with the edge, however that ends.
#[derive(Debug)]
pub(super) struct Ffmpeg {
    child: Child,
    group: Option<Pid>,
    written: Arc<AtomicU64>,
    words: Arc<Mutex<LastLines>>,
    listening: JoinHandle<()>,
}

impl Ffmpeg {
    /// Starts it. Nothing secret is on its command line or in its environment.
    pub(super) async fn start(
        spawner: &Spawner,
        program: &Path,
        input: &Carrier,
        output: &Carrier,
    ) -> io::Result<Self> {
        let mut child = spawner.spawn(command(program, input, output)).await?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let written = Arc::default();
        if let Some(progress) = child.stdout.take() {
            tokio::spawn(follow(progress, Arc::clone(&written)));
        }
        let words = Arc::default();
        let listening = tokio::spawn(listen(child.stderr.take(), Arc::clone(&words)));
        Ok(Self {
            child,
            group,
            written,
            words,
            listening,
        })
    }

    /// Bytes that it says it has written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it: kindly first, and after 5 seconds whatever it does.
    pub(super) async fn end(&mut self) {
        self.signal(Signal::TERM);
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // It cannot refuse that.
            let _ = self.child.wait().await;
        }
    }

    /// The last lines that it said; it has ended.
    pub(super) async fn last_lines(mut self) -> Vec<String> {
        let _ = timeout(LAST_WORDS, &mut self.listening).await;
        lock(&self.words).take()
    }

    fn signal(&self, signal: Signal) {
        // Once it was waited for, its number may be another's.
        if let (Some(group), Some(_)) = (self.group, self.child.id()) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.listening.abort();
    }
}

fn command(program: &Path, input: &Carrier, output: &Carrier) -> Command {
    let mut command = Command::new(SELF);
    command
        .args(["run-child", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program)
        .args(["-hide_banner", "-nostdin", "-nostats"])
        .args(["-loglevel", "level+warning"])
        .args(["-progress", "pipe:1", "-stats_period", "1"])
        .args(["-i", input.local_url()])
        .args(["-map", "0:v:0?", "-map", "0:a:0?", "-c", "copy"])
        .args(match output.format() {
            // A live stream has neither.
            "flv" => &["-flvflags", "no_duration_filesize"][..],
            _ => &[],
        })
        .args(["-f", output.format(), output.local_url()])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What a terminal sends to the edge is not for it.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Reads what ffmpeg says of its progress: lines such as `total_size=1234`.
async fn follow(progress: ChildStdout, written: Arc<AtomicU64>) {
    let mut progress = BufReader::new(progress);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut progress)
        .take(PROGRESS_LINE)
        .read_until(b'\n', &mut line)
        .await
    {
        if let Some(bytes) = total_size(&line) {
            written.store(bytes, Ordering::Relaxed);
        }
        line.clear();
    }
}

fn total_size(line: &[u8]) -> Option<u64> {
    let number = line.strip_prefix(b"total_size=")?.trim_ascii();
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Reads all that ffmpeg complains of, and keeps the end of it.
async fn listen(complaints: Option<ChildStderr>, words: Arc<Mutex<LastLines>>) {
    let Some(mut complaints) = complaints else {
        return;
    };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = complaints.read(&mut buffer).await {
        lock(&words).feed(&buffer[..count]);
    }
}

fn lock(words: &Mutex<LastLines>) -> MutexGuard<'_, LastLines> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::total_size;

    #[test]
    fn of_the_progress_only_the_size_counts() {
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
}
