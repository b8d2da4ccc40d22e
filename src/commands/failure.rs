use std::process::ExitCode;

use crate::auth::LoadKeysError;

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// A setting or an argument makes no sense: exit code 2.
    Usage(String),
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
