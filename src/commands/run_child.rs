use std::{ffi::OsString, io, num::NonZero, os::unix::process::CommandExt, process::Command};

use clap::Args;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::error::CommandError;

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

/// Replaces this process by the program.
pub(super) fn run(child: &RunChild) -> Result<(), CommandError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    // The parent may have ended before the signal was set.
    if getppid().map(Pid::as_raw_nonzero).map(NonZero::get) != Some(child.parent) {
        let error = io::Error::other("the parent process has ended");
        return Err(CommandError::Program(error));
    }
    let (program, arguments) = child
        .program
        .split_first()
        .ok_or(CommandError::Program(io::ErrorKind::NotFound.into()))?;
    let error = Command::new(program).args(arguments).exec();
    Err(CommandError::Program(error))
}
