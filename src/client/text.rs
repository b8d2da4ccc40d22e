//! Values of the contract as text, and arguments as values of the contract.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// No enum of the contract that is an argument has a larger number.
const MAX_ENUM_NUMBER: i32 = 200;

/// A time in UTC, to the second; `-` if it is absent.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| {
        DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap_or_default())
    });
    time.map_or_else(
        || "-".to_owned(),
        |time| time.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

/// A duration such as `1m 30s`.
pub(super) fn duration(duration: Option<prost_types::Duration>) -> String {
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    humantime::format_duration(duration.unwrap_or_default()).to_string()
}

/// A duration of the contract.
pub(super) fn to_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// A bit rate such as `2.5 Mbit/s`; `-` if it is unknown.
pub(super) fn bitrate(bits_per_second: i64) -> String {
    match bits_per_second {
        ..=0 => "-".to_owned(),
        1..1_000_000 => format!("{:.0} kbit/s", bits_per_second as f64 / 1e3),
        _ => format!("{:.1} Mbit/s", bits_per_second as f64 / 1e6),
    }
}

/// A number of bytes such as `12.5 MB`.
pub(super) fn bytes(bytes: i64) -> String {
    match bytes {
        ..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// The name of an enum value without the prefix of its enum, such as `LIVE`.
pub(crate) fn label(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// The same; `-` for the unspecified value.
pub(super) fn optional_label(name: &str, prefix: &str) -> String {
    match label(name, prefix) {
        label if label == "UNSPECIFIED" => "-".to_owned(),
        label => label,
    }
}

/// Text, or `-` if it is empty.
pub(crate) fn or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}

/// Parses an enum value by its name in lower case, with hyphens and without the prefix of its
/// enum, such as `amazon-ivs`.
pub(super) fn enum_parser<E>(
    prefix: &'static str,
    name: fn(&E) -> &'static str,
) -> impl TypedValueParser<Value = E>
where
    E: TryFrom<i32> + Clone + Send + Sync + 'static,
{
    let values = move || (1..=MAX_ENUM_NUMBER).filter_map(|number| E::try_from(number).ok());
    let word = move |value: &E| {
        let label = label(name(value), prefix);
        label.to_ascii_lowercase().replace('_', "-")
    };
    let names = values().map(move |value| PossibleValue::new(word(&value)));
    PossibleValuesParser::new(names.collect::<Vec<_>>()).try_map(move |text| {
        let mut values = values();
        let found = values.find(|value| word(value) == text);
        found.ok_or("is not a known value")
    })
}
