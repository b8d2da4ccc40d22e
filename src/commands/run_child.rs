use std::{ffi::OsString, io, num::NonZero, os::unix::process::CommandExt, process::Command};

use clap::Args;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::failure::Failure;

/// A program that ends with its parent, however that ends.
#[derive(Args)]
pub(super) struct Child {
    /// The process that starts this one.
    #[arg(long)]
    parent: i32,

    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Becomes the program.
pub(super) fn run(child: &Child) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    // It may have ended before the system was asked to tell.
    if getppid().map(Pid::as_raw_nonzero).map(NonZero::get) != Some(child.parent) {
        let gone = io::Error::other("whoever wanted it is gone");
        return Err(Failure::Program(gone));
    }
    let (program, arguments) = child
        .program
        .split_first()
        .ok_or(Failure::Program(io::ErrorKind::NotFound.into()))?;
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::Program(error))
}
