//! Secrets come from a prompt, standard input or a file, not from arguments: every user of a
//! machine can read the arguments of its processes.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::Path,
};

use console::Term;

use super::error::ClientError;
use crate::domain::Secret;

/// The longest secret on standard input, in bytes.
const MAX_LENGTH: u64 = 64 * 1024;

/// Asks for a secret on the terminal, without an echo. Without a terminal, the error names the
/// flag to use instead.
pub(super) fn prompt(question: &str, flag: &str) -> Result<Secret, ClientError> {
    let terminal = Term::stderr();
    if !can_prompt() {
        return Err(ClientError::usage(format!(
            "there is no terminal to ask for a secret: use {flag}"
        )));
    }
    terminal.write_str(&format!("{question}: "))?;
    Ok(Secret::new(terminal.read_secure_line()?))
}

/// Whether there is a terminal to ask on.
pub(super) fn can_prompt() -> bool {
    io::stdin().is_terminal() && Term::stderr().is_term()
}

/// Reads a secret from standard input, without the end of its line.
pub(super) fn from_stdin(flag: &str) -> Result<Secret, ClientError> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(MAX_LENGTH)
        .read_to_string(&mut text)?;
    one_line(&text, flag)
}

/// Reads a secret from a file, without the end of its line.
pub(super) fn from_file(file: &Path, flag: &str) -> Result<Secret, ClientError> {
    let text = fs::read_to_string(file).map_err(|error| {
        ClientError::usage(format!("cannot read {} ({flag}): {error}", file.display()))
    })?;
    one_line(&text, flag)
}

fn one_line(text: &str, flag: &str) -> Result<Secret, ClientError> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(ClientError::usage(format!("{flag} got an empty secret"))),
        line if line.contains('\n') => Err(ClientError::usage(format!(
            "{flag} got several lines: a secret is one line"
        ))),
        line => Ok(Secret::new(line)),
    }
}
