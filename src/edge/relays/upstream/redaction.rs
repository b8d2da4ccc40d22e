use crate::domain::{RelayError, Secret};

const MAX_CHARS: usize = 200;
/// Shorter parts of a name occur by chance.
const MIN_PART: usize = 4;

/// What is removed from the words of a server.
#[derive(Debug, Clone)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    /// A name that contains a key, and its parts: a server may split it at `?` or `&`.
    pub(crate) fn of(name: &Secret) -> Self {
        let whole = name.expose();
        let mut parts: Vec<&str> = whole
            .split(['?', '&', '=', '/', ','])
            .chain([whole])
            .filter(|part| part.len() >= MIN_PART || *part == whole && !part.is_empty())
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Self(parts.into_iter().map(Secret::new).collect())
    }

    /// The words without secrets, addresses and control characters: at most 200 characters.
    pub(crate) fn redact(&self, words: &str) -> String {
        let hidden = self.0.iter().fold(words.to_owned(), |words, secret| {
            words.replace(secret.expose(), "***")
        });
        RelayError::redact(&hidden)
            .chars()
            .take(MAX_CHARS)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_the_secret_its_parts_addresses_and_control_characters() {
        let secrets = Secrets::of(&Secret::new("FB-12345?s_bl=1&a=AbCdEf/gh"));
        for (said, kept) in [
            ("FB-12345?s_bl=1&a=AbCdEf/gh is taken", "*** is taken"),
            ("no FB-12345 here, AbCdEf", "no *** here, ***"),
            ("go to rtmp://x.example.com/live", "go to rtmp://***"),
            ("two\r\nlines\u{1b}[31m", "two lines [31m"),
        ] {
            assert_eq!(secrets.redact(said), kept);
        }
        assert_eq!(secrets.redact(&"ü".repeat(300)), "ü".repeat(200));
    }

    #[test]
    fn a_short_name_is_hidden_as_a_whole() {
        assert_eq!(
            Secrets::of(&Secret::new("k1")).redact("k1 is bad"),
            "*** is bad"
        );
        assert_eq!(Secrets::of(&Secret::new("")).redact("as it is"), "as it is");
    }
}
