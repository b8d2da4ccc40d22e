//! Sluice with real media, on this machine: `make demo`.
//!
//! Starts a control plane on SQLite, nginx-rtmp with the configuration of `deploy/`, a
//! `sluice edge` beside it, and two recording destinations. Publishes a test picture, shows
//! the stream and its relays while it is live, and ends everything. The exit code says
//! whether all steps succeeded.

mod account;
mod board;
#[path = "../../tests/media/mod.rs"]
mod media;
mod project_watch;
mod show;
mod stage;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Dropping the future ends all started processes, also after a signal.
    let ended = tokio::select! {
        shown = show::run() => shown,
        stopped = signalled() => stopped,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for a signal to stop.
async fn signalled() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    anyhow::bail!("stopped by a signal")
}
