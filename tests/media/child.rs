use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{self, Command},
    time::{sleep, timeout},
};

/// Time limit of a graceful end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit of a start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running program. It is killed on drop.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    child: process::Child,
    log: Arc<Mutex<Vec<String>>>,
}

/// A command, which may be installed in a directory for administrators.
pub fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

impl Child {
    /// Starts a command and collects its log. `name` is for messages.
    pub fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Signals of a terminal are for the parent process only.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;

        let log = Arc::new(Mutex::new(Vec::new()));
        let shared_log = Arc::clone(&log);
        let errors = child.stderr.take().context("its errors are read")?;
        tokio::spawn(async move {
            let mut lines = BufReader::new(errors).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                let line = String::from_utf8_lossy(&line).into_owned();
                shared_log
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Ok(Self { name, child, log })
    }

    /// Waits until it is ready; an error if it ends first.
    pub async fn ready(&mut self, mut is_ready: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
        let looking = async {
            while !is_ready().await {
                if let Some(status) = self.child.try_wait()? {
                    bail!("{} ended: {status}\n{}", self.name, self.log().join("\n"));
                }
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        let looked = timeout(START_TIMEOUT, looking).await;
        looked.with_context(|| format!("{} does not start", self.name))?
    }

    /// The process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The exit status; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(id) = self.child.id() {
            let pid = Pid::from_raw(id.cast_signed()).context("a process has a number")?;
            kill_process(pid, Signal::TERM)?;
        }
        let ended = timeout(STOP_TIMEOUT, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} does not end", self.name))??)
    }
}
