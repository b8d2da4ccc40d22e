use std::fs;

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::failure::Failure;
use crate::{
    auth::{Keys, LoadKeysError},
    config::{Config, Environment},
    error,
    repositories::Database,
    server, telemetry,
};

/// Serves until SIGTERM or SIGINT. A second signal ends it at once.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let keys = prepare(config)?;
    tokio::runtime::Runtime::new()?.block_on(serve(config, keys))
}

/// What every command needs that uses the data: checked settings, a log, the keys.
pub(super) fn prepare(config: &Config) -> Result<Keys, Failure> {
    config.check().map_err(Failure::Usage)?;
    telemetry::init(config)?;
    error::show_causes(config.env == Environment::Development);
    fs::create_dir_all(&config.data_dir).with_context(|| {
        format!(
            "cannot make the data directory {}",
            config.data_dir.display()
        )
    })?;
    Keys::load(config).map_err(|fault| match fault {
        LoadKeysError::Setting(sentence) => Failure::Usage(sentence),
        LoadKeysError::Files(cause) => Failure::Other(cause),
    })
}

async fn serve(config: &Config, keys: Keys) -> Result<(), Failure> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {} (SLUICE_LISTEN)", config.listen))?;
    let database = Database::open(&config.database());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
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
            std::process::exit(1);
        });
    };
    Ok(server::serve(listener, database, keys, config, shutdown).await?)
}
