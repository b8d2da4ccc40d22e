use std::{fmt, io, process::ExitCode};

use crate::{
    auth::LoadKeysError,
    client::ClientError,
    database::{ConnectError, UnusableDatabase},
    error::with_causes,
};

/// Why a command fails.
#[derive(Debug)]
pub enum CommandError {
    /// Settings are invalid: exit code 2. Each sentence names one.
    Settings(Vec<String>),
    /// A setting or an argument is invalid: exit code 2.
    Usage(String),
    /// A program cannot be run: exit code 127 if it is not found, else 126, as in shells.
    Program(io::Error),
    /// A command that calls a server has failed: the exit code tells why.
    Client(ClientError),
    /// The reason is printed already: exit code 1.
    Reported,
    /// Anything else: exit code 1.
    Other(anyhow::Error),
}

impl CommandError {
    /// Prints the error on standard error, with one line for each setting.
    pub fn report(&self) -> ExitCode {
        for sentence in self.to_string().lines() {
            eprintln!("sluice: {sentence}");
        }
        match self {
            Self::Settings(_) | Self::Usage(_) => ExitCode::from(2),
            Self::Program(cause) if cause.kind() == io::ErrorKind::NotFound => ExitCode::from(127),
            Self::Program(_) => ExitCode::from(126),
            Self::Client(error) => ExitCode::from(error.exit_code()),
            Self::Reported | Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

/// One sentence, or one in each line for settings.
impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(sentences) => formatter.write_str(&sentences.join("\n")),
            Self::Usage(sentence) => formatter.write_str(sentence),
            Self::Program(cause) => write!(formatter, "cannot run the program: {cause}"),
            Self::Client(error) => formatter.write_str(&error.sentences().join("\n")),
            Self::Reported => Ok(()),
            Self::Other(cause) => formatter.write_str(&with_causes(&**cause)),
        }
    }
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
