//! The format of a log line: one JSON object with the fields of its span.
//!
//! Every call creates a span, and most calls log nothing. The default format of fields
//! costs more than the rest of a span, so the fields are written once, as JSON text.

use std::fmt::{self, Debug};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{Format, Json, Writer},
    },
    registry::LookupSpan,
};

use super::metrics::{DATABASE, LOG_LINES};

/// Formats the fields of a span as JSON text: `"name":"value",…`.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonFields;

/// Formats an event with the fields of its span.
#[derive(Debug)]
pub struct JsonFormat {
    event_format: Format<Json>,
}

/// Counts the lines of another format.
#[derive(Debug)]
pub struct CountLines<F>(pub F);

impl Default for JsonFormat {
    fn default() -> Self {
        let format = tracing_subscriber::fmt::format().json();
        let format = format.flatten_event(true).with_current_span(false);
        Self {
            event_format: format.with_span_list(false),
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for CountLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        LOG_LINES.count(level);
        if level <= Level::WARN && target == "sqlx::query" {
            DATABASE.slow_statements.inc();
        }
        self.0.format_event(context, writer, event)
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(span) = context.parent_span() else {
            return self.event_format.format_event(context, writer, event);
        };
        let mut line = String::with_capacity(512);
        self.event_format
            .format_event(context, Writer::new(&mut line), event)?;
        let open = line.trim_end().strip_suffix('}').unwrap_or_default();

        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<JsonFields>>();
        let fields = fields.map_or("", |fields| fields.fields.as_str());
        let comma = if fields.is_empty() { "" } else { "," };
        let name = span.name();
        writeln!(
            writer,
            r#"{open},"span":{{{fields}{comma}"name":"{name}"}}}}"#
        )
    }
}

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            is_first: true,
        };
        fields.record(&mut visitor);
        Ok(())
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let is_first = current.fields.is_empty();
        let writer = current.as_writer();
        fields.record(&mut Visitor { writer, is_first });
        Ok(())
    }
}

struct Visitor<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
}

impl Visitor<'_> {
    fn write(&mut self, field: &Field, value: impl fmt::Display) {
        self.write_name(field);
        // Writing to memory does not fail.
        let _ = write!(self.writer, "{value}");
    }

    fn write_name(&mut self, field: &Field) {
        let comma = if self.is_first { "\"" } else { ",\"" };
        self.is_first = false;
        self.write_pieces([comma, field.name(), "\":"]);
    }

    fn write_pieces<const N: usize>(&mut self, pieces: [&str; N]) {
        for piece in pieces {
            let _ = self.writer.write_str(piece);
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = |byte: u8| !matches!(byte, b'"' | b'\\' | ..b' ');
        if value.bytes().all(is_plain) {
            self.write_name(field);
            self.write_pieces(["\"", value, "\""]);
        } else {
            self.write(field, serde_json::Value::from(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
