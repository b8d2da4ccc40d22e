use std::{io, process::ExitCode};

use crate::{auth::LoadKeysError, error::with_causes};

/// Why a command fails.
#[derive(Debug)]
pub enum CommandError {
    /// Settings are invalid: exit code 2. Each sentence names one.
    Settings(Vec<String>),
    /// A setting or an argument is invalid: exit code 2.
    Usage(String),
    /// A program cannot be run: exit code 127 if it is not found, else 126, as in shells.
    Program(io::Error),
    /// The reason is printed already: exit code 1.
    Reported,
    /// Anything else: exit code 1.
    Other(anyhow::Error),
}

impl CommandError {
    /// Prints the error on standard error, with one line for each setting.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Settings(sentences) => {
                for sentence in sentences {
                    eprintln!("sluice: {sentence}");
                }
                ExitCode::from(2)
            }
            Self::Usage(sentence) => {
                eprintln!("sluice: {sentence}");
                ExitCode::from(2)
            }
            Self::Program(cause) => {
                eprintln!("sluice: cannot run the program: {cause}");
                let is_missing = cause.kind() == io::ErrorKind::NotFound;
                ExitCode::from(if is_missing { 127 } else { 126 })
            }
            Self::Reported => ExitCode::FAILURE,
            Self::Other(cause) => {
                eprintln!("sluice: {}", with_causes(&**cause));
                ExitCode::FAILURE
            }
        }
    }
}

/// Keys that cannot be loaded are an invalid setting, wherever they are loaded.
impl<E: Into<anyhow::Error>> From<E> for CommandError {
    fn from(cause: E) -> Self {
        let cause = cause.into();
        let mut causes = cause.chain().map(|cause| cause.downcast_ref());
        match causes.find_map(|error| error) {
            Some(LoadKeysError::Setting(sentence)) => Self::Usage(sentence.clone()),
            _ => Self::Other(cause),
        }
    }
}
