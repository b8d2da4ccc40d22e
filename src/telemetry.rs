//! Logs.

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Config, LogFormat};

/// Starts the log on standard error, and sends panics there too.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let human = match config.log_format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let log = fmt()
        .with_env_filter(EnvFilter::try_new(&config.log)?)
        .with_writer(io::stderr);

    let started = if human {
        log.with_ansi(io::stderr().is_terminal()).try_init()
    } else {
        log.json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    };
    started.map_err(|fault| anyhow::anyhow!(fault))?;

    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("?"),
            place,
            "panicked"
        );
    }));
    Ok(())
}
