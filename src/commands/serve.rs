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
    config::{Config, Environment, Resolved},
    database::{Database, ServerLock},
    error::{self, with_causes},
    server,
    telemetry::{self, otlp_logs, traces},
    transport::{BoundSocket, ListenAddress},
};

/// How many tasks a thread polls before it checks for I/O events.
///
/// With tokio's default of 61, under overload each response of the database would wait until as many
/// connections have refused calls.
const EVENT_INTERVAL: u32 = 7;

/// How long the last traces and log records may take to be sent.
const EXPORT_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT. A second signal ends it at once.
pub(super) fn run(settings: &Resolved<Config>) -> Result<(), CommandError> {
    let config = &settings.config;
    prepare(settings)?;
    create_data_directory(config)?;
    // It keeps other servers away from a file of SQLite.
    let _lock = ServerLock::acquire(&config.database().target)?;
    let keys = Keys::load(&config.keys())?;
    if let Some(files) = config.transport.tls() {
        let checked = files.check();
        checked.map_err(|error| CommandError::Usage(with_causes(&*error)))?;
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

/// Prepares a command that uses the data: opens the log, and warns about unknown variables.
pub(super) fn prepare(settings: &Resolved<Config>) -> Result<(), CommandError> {
    let config = &settings.config;
    telemetry::init(&config.log())?;
    warn_of_unknown(&settings.unknown);
    error::show_causes(config.env == Environment::Development);
    Ok(())
}

/// Logs the variables that look like settings, but are none.
pub(super) fn warn_of_unknown(unknown: &[String]) {
    for warning in unknown {
        tracing::warn!("{warning}");
    }
}

/// Creates the data directory, which only its owner may access.
pub(super) fn create_data_directory(config: &Config) -> Result<(), CommandError> {
    let directory = &config.data_dir;
    let mut builder = DirBuilder::new();
    let created = builder.recursive(true).mode(0o700).create(directory);
    created.with_context(|| {
        format!(
            "cannot create the data directory {} (SLUICE_DATA_DIR)",
            directory.display()
        )
    })?;
    Ok(())
}

async fn serve(config: &Config, keys: Keys) -> Result<(), CommandError> {
    let sockets = bind(config)?;
    if let Some(settings) = config.traces() {
        traces::start(settings)?;
    }
    if let Some(collector) = config.log_collector() {
        otlp_logs::start(&collector)?;
    }
    let database = Database::open(&config.database());
    let shutdown = stop_signal()?;
    let is_local = config.listen.iter().all(ListenAddress::is_local);
    let is_exposed = config.transport.tls().is_none() && !is_local;
    if config.env == Environment::Production && is_exposed {
        tracing::warn!(
            "serving without TLS: only a proxy that terminates TLS should be able to connect"
        );
    }
    for socket in &sockets {
        tracing::info!(address = %socket.address()?, database = database.engine(), "serving");
    }

    let served = server::serve(sockets, database, keys, config, shutdown.cancelled_owned()).await;
    let timeout = EXPORT_FLUSH_TIMEOUT.min(config.drain_timeout);
    tokio::join!(traces::stop(timeout), otlp_logs::stop(timeout));
    Ok(served?)
}

/// Listens on all addresses of the settings.
fn bind(config: &Config) -> anyhow::Result<Vec<BoundSocket>> {
    let bind = |address| {
        let bound = BoundSocket::bind(address);
        bound.with_context(|| format!("cannot listen on {address} (SLUICE_LISTEN)"))
    };
    config.listen.iter().map(bind).collect()
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
