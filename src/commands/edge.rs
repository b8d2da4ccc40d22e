use std::fs;

use anyhow::Context;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::{config::EdgeConfig, edge, telemetry};

/// Runs an edge until SIGTERM or SIGINT. A second signal ends it at once.
pub(super) fn run(config: &EdgeConfig) -> Result<(), Failure> {
    let terms = config.edge(this_machine).map_err(Failure::Usage)?;
    telemetry::init(&config.log())?;
    let runtime = Runtime::new()?;
    let done = runtime.block_on(serve(config, terms));
    runtime.shutdown_background();
    done
}

async fn serve(config: &EdgeConfig, terms: edge::Edge) -> Result<(), Failure> {
    let address = config.hooks_listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (SLUICE_HOOKS_LISTEN)"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(address = %listener.local_addr()?, node_id = terms.node_id, "serving hooks");

    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                stop.cancel();
            }
        }
        tracing::warn!("second signal, stopping at once");
        telemetry::flush();
        std::process::exit(1);
    });
    edge::run(terms, listener, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// The name that this machine has.
fn this_machine() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
