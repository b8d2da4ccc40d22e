//! What is special about destinations that speak SRT: encryption by a passphrase, and the options
//! in their addresses.

use super::{Invalid, Secret, invalid::refuse, invisible_characters::reject_invisible};

/// The length of a passphrase in bytes (libsrt).
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 10..=79;

/// The lengths of a key in bytes (libsrt); 0 leaves the choice to the worker.
const KEY_LENGTHS: [i32; 4] = [0, 16, 24, 32];

/// The options of an address that `sluice edge` passes to libsrt. Their values are numbers.
const OPTIONS: [&str; 12] = [
    "latency",
    "rcvlatency",
    "peerlatency",
    "tsbpddelay",
    "pkt_size",
    "payload_size",
    "mss",
    "maxbw",
    "inputbw",
    "oheadbw",
    "tlpktdrop",
    "snddropdelay",
];

/// How the media to an SRT destination is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtEncryption {
    /// The passphrase, which the destination knows too.
    pub passphrase: Secret,
    /// The length of the key in bytes: 16, 24 or 32, or 0 if the worker chooses.
    pub pbkeylen: i32,
}

impl SrtEncryption {
    /// Parses a passphrase of 10 to 79 bytes; `None` if it is empty.
    pub fn parse_passphrase(text: &str) -> Result<Option<Secret>, Invalid> {
        let passphrase = text.trim();
        if passphrase.is_empty() {
            return Ok(None);
        }
        // Spaces between words are part of it.
        reject_invisible(&passphrase.replace(' ', ""))?;
        match PASSPHRASE_BYTES.contains(&passphrase.len()) {
            true => Ok(Some(Secret::new(passphrase))),
            false => refuse("must have 10 to 79 bytes"),
        }
    }

    /// Parses the length of a key in bytes.
    pub fn parse_pbkeylen(length: i32) -> Result<i32, Invalid> {
        match KEY_LENGTHS.contains(&length) {
            true => Ok(length),
            false => refuse("must be 16, 24 or 32, or 0 to leave the choice to the worker"),
        }
    }
}

/// Whether `sluice edge` passes this option of an address, such as `latency=200`, to libsrt.
pub(crate) fn is_passed_option(option: &str) -> bool {
    option.split_once('=').is_some_and(|(name, value)| {
        let digits = value.strip_prefix('-').unwrap_or(value);
        OPTIONS.contains(&name)
            && matches!(digits.len(), 1..=12)
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Checks an option in the query of an address.
pub(super) fn check_option(name: &str, value: &str) -> Result<(), Invalid> {
    let is_caller = matches!(&*value.to_ascii_lowercase(), "caller" | "client");
    match &*name.to_ascii_lowercase() {
        "streamid" | "srt_streamid" => {
            refuse("must not have streamid: the stream id belongs in stream_key")
        }
        "passphrase" => {
            refuse("must not have passphrase: the passphrase belongs in srt_passphrase")
        }
        "pbkeylen" => refuse("must not have pbkeylen: the key length belongs in srt_pbkeylen"),
        "mode" if !is_caller => {
            refuse("must not have a mode other than caller: relays call the destination")
        }
        _ => Ok(()),
    }
}

/// Checks that no option is behind a stream id: it would be sent in clear as a part of it.
pub(super) fn check_stream_id(stream_id: &str) -> Result<(), Invalid> {
    for (option, field) in [
        ("passphrase", "srt_passphrase"),
        ("pbkeylen", "srt_pbkeylen"),
    ] {
        let mut parts = stream_id.split('&');
        if parts.any(|part| assigns(part, option)) {
            return refuse(format!(
                "must not contain {option}, which belongs in {field}"
            ));
        }
    }
    Ok(())
}

/// Whether a part of a stream id such as `abc?passphrase=x` assigns an option. The name may be
/// percent-encoded.
fn assigns(part: &str, option: &str) -> bool {
    let names = part.rsplit_once('=').map_or("", |(names, _)| names);
    let name = url::form_urlencoded::parse(names.as_bytes()).next();
    let name = name.map(|(name, value)| format!("{name}={value}=").to_ascii_lowercase());
    name.is_some_and(|name| name.contains(&format!("{option}=")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_has_10_to_79_bytes() {
        let parse = |text: &str| SrtEncryption::parse_passphrase(text);
        for text in ["0123456789", " correct horse battery \n", &"x".repeat(79)] {
            assert_eq!(parse(text), Ok(Some(Secret::new(text.trim()))), "{text}");
        }
        assert_eq!(parse(" "), Ok(None));
        for text in [
            "012345678",
            &"x".repeat(80),
            &"é".repeat(40),
            "0123456789\u{200b}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_behind_a_stream_id_are_rejected() {
        for (stream_id, field) in [
            ("abc&passphrase=0123456789", "srt_passphrase"),
            ("abc&PassPhrase=0123456789", "srt_passphrase"),
            ("abc?passphrase=0123456789", "srt_passphrase"),
            ("abc&pass%70hrase=0123456789", "srt_passphrase"),
            ("abc?pass%70hrase=0123456789&x", "srt_passphrase"),
            ("passphrase=0123=456789", "srt_passphrase"),
            ("passphrase=0123456789", "srt_passphrase"),
            ("#!::r=abc,passphrase=0123456789", "srt_passphrase"),
            ("abc&pbkeylen=32", "srt_pbkeylen"),
        ] {
            let Invalid(message) = check_stream_id(stream_id).expect_err(stream_id);
            assert!(message.contains(field), "{message}");
        }
        for stream_id in [
            "",
            "publish:k",
            "#!::r=live/k,m=publish&a=+%20",
            "my-passphrase",
            "k=passphrase",
        ] {
            assert_eq!(check_stream_id(stream_id), Ok(()), "{stream_id}");
        }
    }
}
