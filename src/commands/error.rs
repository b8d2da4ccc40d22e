use std::{io, process::ExitCode};

use crate::{
    auth::LoadKeysError,
    database::{ConnectError, UnusableDatabase},
};

/// Why a command fails.
#[derive(Debug)]
pub enum CommandError {
    /// A setting or an argument is invalid: exit code 2.
    Usage(String),
    /// A program cannot be run: exit code 127 if it is not found, else 126, as in shells.
    Program(io::Error),
    /// Anything else: exit code 1.
    Other(anyhow::Error),
}

impl CommandError {
    /// Prints the error on standard error, in one line.
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
                eprintln!("sluice: {}", with_causes(cause));
                ExitCode::FAILURE
            }
        }
    }
}

/// An error with its causes, except those whose text it already contains.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Keys that cannot be loaded are an invalid setting, wherever they are loaded. A sentence
/// about the database needs no introduction.
impl<E: Into<anyhow::Error>> From<E> for CommandError {
    fn from(cause: E) -> Self {
        let cause = cause.into();
        for cause in cause.chain() {
            if let Some(LoadKeysError::Setting(sentence)) = cause.downcast_ref() {
                return Self::Usage(sentence.clone());
            }
            if let Some(unusable) = cause.downcast_ref::<UnusableDatabase>() {
                return Self::Other(anyhow::anyhow!("{unusable}"));
            }
            if let Some(failure) = cause.downcast_ref().and_then(ConnectError::of) {
                return Self::Other(anyhow::anyhow!("{failure}"));
            }
        }
        Self::Other(cause)
    }
}
