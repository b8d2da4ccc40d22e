//! Sluice with real media, on this machine: `make demo`.
//!
//! Starts a control plane on SQLite, nginx-rtmp with the file of `deploy/`, `sluice edge`
//! beside it and two destinations that record; publishes a test picture; shows how the
//! stream goes live and is sent to both; ends it all. The exit code says whether
//! everything came as it must.

mod account;
mod board;
#[path = "../../tests/media/mod.rs"]
mod media;
mod show;
mod stage;
mod watching;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Whatever was started is ended with the show, also when it breaks off.
    let ended = tokio::select! {
        shown = show::run() => shown,
        stopped = stopped() => stopped,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("demo: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Somebody wants it to end.
async fn stopped() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    anyhow::bail!("stopped before its end")
}
