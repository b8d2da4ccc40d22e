//! Finds secrets in the outputs of a program, in clear and encoded.

use std::collections::BTreeSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Searches for secrets in every likely encoding.
pub struct SecretScanner {
    needles: Vec<(String, Vec<u8>)>,
    /// The needles by their first two bytes, so that one pass finds all.
    begins: Vec<Vec<usize>>,
}

impl SecretScanner {
    /// A scanner for these secrets, with their names.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut needles = Vec::new();
        for (name, secret) in secrets {
            assert!(secret.len() >= 8, "the {name} is too short to be found");
            for (form, needle) in encodings(secret) {
                needles.push((format!("the {name} in {form}"), needle));
            }
        }
        let mut begins = vec![Vec::new(); 1 << 16];
        for (at, (_, needle)) in needles.iter().enumerate() {
            begins[begin(needle)].push(at);
        }
        Self { needles, begins }
    }

    /// The secrets that a text contains, with their encodings.
    pub fn find_in(&self, text: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for at in 0..text.len().saturating_sub(1) {
            for needle in &self.begins[begin(&text[at..])] {
                let (name, needle) = &self.needles[*needle];
                if text[at..].starts_with(needle) {
                    found.insert(name.as_str());
                }
            }
        }
        found
    }
}

fn begin(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn encodings(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{secret:?}");
    let mut encodings = vec![
        ("clear".to_owned(), secret.to_vec()),
        ("hex".to_owned(), hex.clone().into_bytes()),
        ("upper-case hex".to_owned(), hex.to_uppercase().into_bytes()),
        (
            "numbers".to_owned(),
            numbers.trim_matches(['[', ']']).as_bytes().to_vec(),
        ),
    ];
    for before in 0..3 {
        // Only the characters whose bits all belong to the secret.
        let padded = [&vec![0; before][..], secret].concat();
        let whole = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
        for (name, encoded) in [
            ("base64", STANDARD_NO_PAD.encode(&padded)),
            ("url-safe base64", URL_SAFE_NO_PAD.encode(&padded)),
        ] {
            let encoded = encoded.as_bytes()[whole.clone()].to_vec();
            encodings.push((format!("{name}, {before} bytes after a boundary"), encoded));
        }
    }
    encodings
}

#[test]
fn the_scanner_finds_a_secret_in_every_encoding_and_has_no_false_positives() {
    let secret = b"canary-\xfb\xff\xbf-0d1f7e";
    let scanner = SecretScanner::new([("key", &secret[..])]);
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();

    let mut plants = vec![
        secret.to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        format!("{secret:?}").into_bytes(),
    ];
    for (before, after) in [
        ("", ""),
        ("a", "b"),
        ("ab", "bc"),
        ("abc", "d"),
        ("abcd", ""),
    ] {
        let around = [before.as_bytes(), secret, after.as_bytes()].concat();
        plants.push(
            base64::engine::general_purpose::STANDARD
                .encode(&around)
                .into(),
        );
        plants.push(URL_SAFE_NO_PAD.encode(&around).into());
    }
    for plant in plants {
        for before in ["", "{\"message\":\"", "ca"] {
            let text = [before.as_bytes(), &plant, b"\"}\n"].concat();
            let shown = String::from_utf8_lossy(&text).into_owned();
            assert_ne!(scanner.find_in(&text), BTreeSet::new(), "{shown}");
        }
    }

    let part = &secret[..secret.len() - 1];
    let clean = [b"canary ", part, b" ", &secret[1..], b" \x00\xff"].concat();
    assert_eq!(scanner.find_in(&clean), BTreeSet::new());
    assert_eq!(scanner.find_in(b""), BTreeSet::new());
}
