//! Shell completions and man pages, made from the command line itself.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use super::error::CommandError;

/// The arguments of `sluice completions`.
#[derive(Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// The arguments of `sluice man`.
#[derive(Args)]
pub(super) struct Man {
    /// The folder to write to. It is created if it does not exist.
    directory: PathBuf,
}

/// Prints the completions of a command.
pub(super) fn completions(
    command: &mut Command,
    arguments: &Completions,
) -> Result<(), CommandError> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, name, &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(())
}

/// Writes a man page of a command and each of its sub-commands: `sluice.1`, `sluice-serve.1` …
pub(super) fn man(command: Command, arguments: &Man) -> Result<(), CommandError> {
    let directory = &arguments.directory;
    let failed = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(directory).with_context(|| failed(directory))?;
    clap_mangen::generate_to(command, directory).with_context(|| failed(directory))?;
    Ok(())
}
