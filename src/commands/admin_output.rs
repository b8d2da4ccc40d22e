use clap::Args;
use serde_json::Value;

use crate::client::OutputFormat;

/// How a command at the database prints its result.
#[derive(Clone, Copy, Args)]
pub(super) struct Output {
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub(super) output: OutputFormat,
}

impl Output {
    /// Prints lines for people, or one document for programs.
    pub fn print(self, lines: &[String], document: &Value) {
        match self.output {
            OutputFormat::Table => lines.iter().for_each(|line| println!("{line}")),
            OutputFormat::Json => println!("{document:#}"),
        }
    }
}
