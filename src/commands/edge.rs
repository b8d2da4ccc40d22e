use std::{ffi::OsString, fs, io, num::NonZero, os::unix::process::CommandExt, process::Command};

use anyhow::Context;
use clap::Args;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::{net::TcpListener, runtime::Runtime};

use super::{
    error::CommandError,
    serve::{stop_signal, warn_of_unknown},
};
use crate::{
    config::{EdgeConfig, Resolved},
    edge::{self, EdgeSettings},
    telemetry,
};

/// Runs an edge until SIGTERM or SIGINT. A second signal ends it at once.
pub(super) fn run(resolved: &Resolved<EdgeConfig>) -> Result<(), CommandError> {
    let config = &resolved.config;
    let settings = EdgeSettings::new(config.clone(), host_name()).map_err(CommandError::Usage)?;
    telemetry::init(&config.log())?;
    warn_of_unknown(&resolved.unknown);
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
    let shutdown = stop_signal()?;
    tracing::info!(address = %listener.local_addr()?, node_id = settings.node_id, "serving hooks");
    edge::run(settings, listener, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// The host name of this machine.
pub(super) fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// A program that is killed when its parent process ends.
#[derive(Args)]
pub(super) struct RunChild {
    /// The id of the parent process.
    #[arg(long)]
    parent: i32,

    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Replaces this process by the program, with which an edge runs a relay.
pub(super) fn run_child(child: &RunChild) -> Result<(), CommandError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    // The parent may have ended before the signal was set.
    if getppid().map(Pid::as_raw_nonzero).map(NonZero::get) != Some(child.parent) {
        let error = io::Error::other("the parent process has ended");
        return Err(CommandError::Program(error));
    }
    let missing = CommandError::Program(io::ErrorKind::NotFound.into());
    let (program, arguments) = child.program.split_first().ok_or(missing)?;
    let error = Command::new(program).args(arguments).exec();
    Err(CommandError::Program(error))
}
