use std::{io, process::ExitCode};

use crate::auth::LoadKeysError;

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// A setting or an argument makes no sense: exit code 2.
    Usage(String),
    /// A program cannot be run: exit code 127 if there is none, else 126, as shells have it.
    Program(io::Error),
    /// Anything else: exit code 1.
    Other(anyhow::Error),
}

impl Failure {
    /// Says it on standard error, in one line.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(sentence) => {
                eprintln!("sluice: {sentence}");
                ExitCode::from(2)
            }
            Self::Program(cause) => {
                eprintln!("sluice: cannot run the program: {cause}");
                let is_missing = cause.kind() == io::ErrorKind::NotFound;
                ExitCode::from(if is_missing { 127 } else { 126 })
            }
            Self::Other(cause) => {
                eprintln!("sluice: {cause:#}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Keys that cannot be had are a setting's fault, wherever that shows.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(cause: E) -> Self {
        let cause = cause.into();
        let mut causes = cause.chain().map(|cause| cause.downcast_ref());
        match causes.find_map(|fault| fault) {
            Some(LoadKeysError::Setting(sentence)) => Self::Usage(sentence.clone()),
            _ => Self::Other(cause),
        }
    }
}
