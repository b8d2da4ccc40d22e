use email_address::{EmailAddress, Options};
use unicode_normalization::UnicodeNormalization;

use super::{
    Invalid,
    invalid::refuse,
    invisible_characters::{reject_invisible, trim_invisible},
};

/// An e-mail address: stored as typed, compared case-insensitively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    address: String,
    key: String,
}

impl Email {
    /// The longest SMTP path (RFC 5321 section 4.5.3.1.3).
    const MAX_BYTES: usize = 254;

    /// Parses an address such as `ada@example.com`. White space and invisible characters around it
    /// are removed, because people paste addresses, and refused within it: it would look like
    /// another address.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let options = Options::default()
            .without_display_text()
            .without_domain_literal()
            .with_required_tld();
        if text.len() > 2 * Self::MAX_BYTES {
            return refuse("must have at most 254 bytes");
        }

        let address: String = trim_invisible(text).nfc().collect();
        if address.is_empty() {
            return refuse("must not be empty");
        }
        if address.len() > Self::MAX_BYTES {
            return refuse("must have at most 254 bytes");
        }
        reject_invisible(&address)?;
        if EmailAddress::parse_with_options(&address, options).is_err() {
            return refuse("must be an e-mail address such as ada@example.com");
        }

        let key = address.to_lowercase();
        Ok(Self { address, key })
    }

    /// The address as typed.
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// The address in lower case, by which accounts are found.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The part before the `@`, as typed.
    pub fn local_part(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// The domain, in lower case.
    pub fn domain(&self) -> &str {
        self.key.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

#[cfg(test)]
mod tests {
    use super::{Email, Invalid};

    #[test]
    fn comparison_ignores_case() {
        let typed = Email::parse(" Ada@Example.COM ").unwrap();

        assert_eq!(typed.as_str(), "Ada@Example.COM");
        assert_eq!(typed.key(), Email::parse("ada@example.com").unwrap().key());
    }

    #[test]
    fn invisible_characters_are_removed_around_an_address_and_refused_within_it() {
        let pasted = Email::parse("\u{feff}ada@example.com\u{200b}\r\n").unwrap();
        assert_eq!(pasted.as_str(), "ada@example.com");

        for c in [
            '\u{3164}', '\u{115f}', '\u{ffa0}', '\u{200b}', '\u{ad}', ' ',
        ] {
            for text in [format!("a{c}da@example.com"), format!("ada@exam{c}ple.com")] {
                let Invalid(message) = Email::parse(&text).expect_err(&text);
                let expected = format!("it contains U+{:04X}", u32::from(c));
                assert!(message.ends_with(&expected), "{message}");
            }
        }
    }

    #[test]
    fn an_address_has_a_local_part_and_a_domain() {
        let typed = Email::parse("\"a@b\"@Example.COM").unwrap();

        assert_eq!(typed.local_part(), "\"a@b\"");
        assert_eq!(typed.domain(), "example.com");
    }

    #[test]
    fn malformed_addresses_are_rejected() {
        for text in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "a b@example.com",
            "ada@localhost",
            "Ada <ada@example.com>",
            "a@b.c\n",
            "ada@[127.0.0.1]",
            "a\0@example.com",
        ] {
            let refused = Email::parse(text).is_err() || text.ends_with('\n');
            assert!(refused, "{text:?}");
        }
        assert!(Email::parse(&format!("{}@example.com", "a".repeat(250))).is_err());
    }
}
