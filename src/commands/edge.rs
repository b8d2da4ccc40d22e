use std::fs;

use anyhow::Context;
use tokio::{net::TcpListener, runtime::Runtime};

use super::{error::CommandError, shutdown};
use crate::{
    config::EdgeConfig,
    edge::{self, EdgeSettings},
    telemetry,
};

/// Runs an edge until SIGTERM or SIGINT. A second signal ends it at once.
pub(super) fn run(config: &EdgeConfig) -> Result<(), CommandError> {
    let settings = EdgeSettings::new(config, host_name()).map_err(CommandError::Usage)?;
    telemetry::init(&config.log())?;
    let runtime = Runtime::new()?;
    let served = runtime.block_on(serve(config, settings));
    runtime.shutdown_background();
    served
}

async fn serve(config: &EdgeConfig, settings: EdgeSettings) -> Result<(), CommandError> {
    let address = config.hooks_listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (SLUICE_HOOKS_LISTEN)"))?;
    let shutdown = shutdown::on_signal()?;
    tracing::info!(address = %listener.local_addr()?, node_id = settings.node_id, "serving hooks");
    edge::run(settings, listener, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// The host name of this machine.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
