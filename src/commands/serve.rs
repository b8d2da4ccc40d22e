use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, time::Duration};

use anyhow::Context;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use super::failure::Failure;
use crate::{
    auth::Keys,
    config::{Config, Environment},
    database::Database,
    error, server,
    telemetry::{self, traces},
    transport,
};

/// After how many steps of its tasks a thread looks what has come in. By default it is
/// 61: under more load than there can be, each answer of the database would wait until
/// as many connections have refused calls.
const LOOKS: u32 = 7;

/// How long the last traces may take to leave.
const TRACES_PATIENCE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT. A second signal ends it at once.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    prepare(config)?;
    let keys = load_keys(config)?;
    if let Some(files) = config.listening.tls() {
        let checked = files.check();
        checked.map_err(|fault| Failure::Usage(format!("{fault:#}")))?;
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .event_interval(LOOKS)
        .build()?;
    let served = runtime.block_on(serve(config, keys));
    // Work that cannot be cancelled, such as waiting for a lock, does not keep the program.
    runtime.shutdown_background();
    served
}

/// What every command needs that uses the data: checked settings, a log, the
/// data directory, which only its owner may enter.
pub(super) fn prepare(config: &Config) -> Result<(), Failure> {
    config.check().map_err(Failure::Usage)?;
    telemetry::init(&config.log())?;
    error::show_causes(config.env == Environment::Development);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .with_context(|| {
            format!(
                "cannot make the data directory {}",
                config.data_dir.display()
            )
        })?;
    Ok(())
}

/// The keys of the settings.
pub(super) fn load_keys(config: &Config) -> Result<Keys, Failure> {
    Ok(Keys::load(&config.keys())?)
}

async fn serve(config: &Config, keys: Keys) -> Result<(), Failure> {
    let listener = transport::bind(config.listen)
        .with_context(|| format!("cannot listen on {} (SLUICE_LISTEN)", config.listen))?;
    if let Some(settings) = config.traces() {
        traces::start(settings)?;
    }
    let database = Database::open(&config.database());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let is_open = config.listening.tls().is_none() && !config.listen.ip().is_loopback();
    if config.env == Environment::Production && is_open {
        tracing::warn!("serving without TLS: let nobody but a proxy that encrypts connect");
    }
    tracing::info!(address = %listener.local_addr()?, database = database.engine(), "serving");

    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("second signal, stopping at once");
            telemetry::flush();
            std::process::exit(1);
        });
    };
    let served = server::serve(listener, database, keys, config, shutdown).await;
    traces::stop(TRACES_PATIENCE.min(config.drain_timeout)).await;
    Ok(served?)
}
