use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// A token that the first SIGTERM or SIGINT cancels. The second signal ends the process at once.
pub(super) fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let first = shutdown.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                first.cancel();
            }
        }
        tracing::warn!("second signal, stopping at once");
        telemetry::flush();
        std::process::exit(1);
    });
    Ok(shutdown)
}
