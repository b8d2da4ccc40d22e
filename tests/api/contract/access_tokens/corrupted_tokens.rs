//! Valid tokens with flipped bits or malformed segments.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::forged_tokens::Token;

impl Token {
    pub fn with_flipped_bits(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let parts: Vec<_> = self.text.split('.').collect();
        for (at, name) in ["header", "payload", "signature"].into_iter().enumerate() {
            let bytes = URL_SAFE_NO_PAD.decode(parts[at]).unwrap();
            for byte in [0, bytes.len() / 2, bytes.len() - 1] {
                for bit in [0, 3, 7] {
                    let mut flipped = bytes.clone();
                    flipped[byte] ^= 1 << bit;
                    let flipped = URL_SAFE_NO_PAD.encode(flipped);
                    let mut parts = parts.clone();
                    parts[at] = &flipped;
                    all.push((format!("{name}, byte {byte}, bit {bit}"), parts.join(".")));
                }
            }
        }
        all
    }

    pub fn with_wrong_segments(&self) -> Vec<(String, String)> {
        let parts: Vec<_> = self.text.split('.').collect();
        let (header, claims, signature) = (parts[0], parts[1], parts[2]);
        let text = &self.text;
        let tokens = [
            String::new(),
            ".".into(),
            "..".into(),
            "a.b.c".into(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!("{header}..{signature}"),
            format!(".{claims}.{signature}"),
            format!("{claims}.{header}.{signature}"),
            format!("{text}."),
            format!("{text}.{signature}"),
            format!("{text}="),
            format!("{text}=="),
            format!("{text}A"),
            format!("{text}!"),
            format!("{text} x"),
            format!("{text},"),
            format!("{text}, Bearer {text}"),
            format!("{text};{text}"),
            format!("\"{text}\""),
            format!("Bearer {text}"),
            "x".repeat(5000),
            other_trailing_bits(text),
        ];
        let named = tokens.into_iter().enumerate();
        named
            .map(|(at, token)| (format!("segments, case {at}"), token))
            .collect()
    }
}

/// The same token with other padding bits in its last base64 character.
pub fn other_trailing_bits(token: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = token.split_at(token.len() - 1);
    let at = ALPHABET.find(last).unwrap();
    format!("{start}{}", &ALPHABET[at ^ 1..=at ^ 1])
}
