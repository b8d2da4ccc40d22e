//! What commands print on standard output: tables for people, JSON for programs.
//!
//! JSON is the response of the API in the standard mapping of Protocol Buffers, as grpcurl prints
//! it too.

use std::io::{self, Write};

use console::measure_text_width;
use prost::Name;

use super::{
    error::{ClientError, ExitClass},
    options::OutputFormat,
};
use crate::proto;

/// Rows under a header.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table. Each row has a cell for each name of the header.
    pub fn new<const N: usize>(
        header: [&'static str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        let rows = rows.into_iter().map(|row| row.map(printable).to_vec());
        Self {
            header: header.to_vec(),
            rows: rows.collect(),
        }
    }

    /// One record: a name and a value a line.
    pub fn record<const N: usize>(fields: [(&'static str, String); N]) -> Self {
        let rows = fields.map(|(name, value)| vec![name.to_owned(), printable(value)]);
        Self {
            header: Vec::new(),
            rows: rows.to_vec(),
        }
    }

    /// A record with more fields.
    pub fn with<const N: usize>(mut self, fields: [(&'static str, String); N]) -> Self {
        self.rows.extend(Self::record(fields).rows);
        self
    }

    /// The lines of the table. Columns have two spaces between them.
    pub fn lines(&self) -> Vec<String> {
        let header: Vec<_> = self.header.iter().map(|&name| name.to_owned()).collect();
        let has_header = !header.is_empty();
        let rows: Vec<_> = has_header
            .then_some(&header)
            .into_iter()
            .chain(&self.rows)
            .collect();
        let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| measure_text_width(cell))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let line = |row: &&Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let padding = width.saturating_sub(measure_text_width(cell));
                format!("{cell}{}", " ".repeat(padding))
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            line.trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }
}

impl OutputFormat {
    /// Prints a response: as JSON, or as the table that is made of it.
    pub(crate) fn print<M: Name>(
        self,
        response: &M,
        table: impl FnOnce(&M) -> Table,
    ) -> Result<(), ClientError> {
        match self {
            Self::Json => print_line(&json(response, true)?),
            Self::Table => table(response)
                .lines()
                .iter()
                .try_for_each(|line| print_line(line)),
        }
    }

    /// Prints a response: as JSON, or as one line of text.
    pub(crate) fn print_text<M: Name>(self, response: &M, text: &str) -> Result<(), ClientError> {
        match self {
            Self::Json => print_line(&json(response, true)?),
            Self::Table => print_line(text),
        }
    }
}

/// A message as JSON: on one line, or with a line for each field.
pub(super) fn json<M: Name>(message: &M, is_pretty: bool) -> Result<String, ClientError> {
    proto::json(message, is_pretty).map_err(|error| {
        let name = M::full_name();
        ClientError::new(
            ExitClass::Failure,
            format!("cannot print {name}: {error:#}"),
        )
    })
}

/// Prints a line on standard output at once.
pub(super) fn print_line(line: &str) -> Result<(), ClientError> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()?;
    Ok(())
}

/// Text of the server without control characters, which could change a terminal.
pub(super) fn printable(text: String) -> String {
    match text.chars().any(char::is_control) {
        true => text.replace(char::is_control, "\u{fffd}"),
        false => text,
    }
}
