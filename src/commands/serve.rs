use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, time::Duration};

use anyhow::Context;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::error::CommandError;
use crate::{
    auth::Keys,
    config::{Config, Environment},
    database::Database,
    error, server,
    telemetry::{self, otlp_logs, traces},
    transport,
};

/// How many tasks a thread polls before it checks for I/O events.
///
/// With tokio's default of 61, under overload each response of the database would wait until as many
/// connections have refused calls.
const EVENT_INTERVAL: u32 = 7;

/// How long the last traces and log records may take to be sent.
const EXPORT_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT. A second signal ends it at once.
pub(super) fn run(config: &Config) -> Result<(), CommandError> {
    prepare(config)?;
    let keys = load_keys(config)?;
    if let Some(files) = config.transport.tls() {
        let checked = files.check();
        checked.map_err(|error| CommandError::Usage(format!("{error:#}")))?;
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()?;
    let served = runtime.block_on(serve(config, keys));
    // Does not wait for work that cannot be cancelled, such as waiting for a lock.
    runtime.shutdown_background();
    served
}

/// Prepares a command that uses the data: checks the settings, and opens the log and the data
/// directory, which only its owner may access.
pub(super) fn prepare(config: &Config) -> Result<(), CommandError> {
    config.check().map_err(CommandError::Usage)?;
    telemetry::init(&config.log())?;
    error::show_causes(config.env == Environment::Development);
    let directory = &config.data_dir;
    let mut builder = DirBuilder::new();
    let created = builder.recursive(true).mode(0o700).create(directory);
    created.with_context(|| format!("cannot create the data directory {}", directory.display()))?;
    Ok(())
}

/// Loads the configured keys.
pub(super) fn load_keys(config: &Config) -> Result<Keys, CommandError> {
    Ok(Keys::load(&config.keys())?)
}

async fn serve(config: &Config, keys: Keys) -> Result<(), CommandError> {
    let listener = transport::bind(config.listen)
        .with_context(|| format!("cannot listen on {} (SLUICE_LISTEN)", config.listen))?;
    if let Some(settings) = config.traces() {
        traces::start(settings)?;
    }
    if let Some(collector) = config.log_collector() {
        otlp_logs::start(&collector)?;
    }
    let database = Database::open(&config.database());
    let shutdown = stop_signal()?;
    let is_exposed = config.transport.tls().is_none() && !config.listen.ip().is_loopback();
    if config.env == Environment::Production && is_exposed {
        tracing::warn!(
            "serving without TLS: only a proxy that terminates TLS should be able to connect"
        );
    }
    tracing::info!(address = %listener.local_addr()?, database = database.engine(), "serving");

    let served = server::serve(listener, database, keys, config, shutdown.cancelled_owned()).await;
    let timeout = EXPORT_FLUSH_TIMEOUT.min(config.drain_timeout);
    tokio::join!(traces::stop(timeout), otlp_logs::stop(timeout));
    Ok(served?)
}

/// A token that the first SIGTERM or SIGINT cancels. The second signal ends the process at once.
pub(super) fn stop_signal() -> io::Result<CancellationToken> {
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
