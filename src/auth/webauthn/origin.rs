use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Host;

use crate::domain::WebOrigin;

/// The domain to which passkeys are bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingPartyId(String);

/// The origin of a page or an app that may use passkeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyOrigin {
    text: String,
    /// `None` for an Android app.
    page: Option<WebOrigin>,
}

impl FromStr for RelyingPartyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Host::parse(text.trim()) {
            Ok(Host::Domain(domain)) if domain == text.trim() && !domain.ends_with('.') => {
                Ok(Self(domain))
            }
            _ => Err("must be a domain in lower case, such as example.com"),
        }
    }
}

impl FromStr for PasskeyOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digest = text.strip_prefix("android:apk-key-hash:");
        if let Some(digest) = digest {
            let is_sha256 = URL_SAFE_NO_PAD
                .decode(digest)
                .is_ok_and(|bytes| bytes.len() == 32);
            let page = None;
            return match is_sha256 {
                true => Ok(Self {
                    text: text.to_owned(),
                    page,
                }),
                false => Err(
                    "must have the SHA-256 of an app's certificate in base64url after \
                     android:apk-key-hash:",
                ),
            };
        }
        let page: WebOrigin = text.parse()?;
        match page.is_secure() {
            true => Ok(Self {
                text: text.to_owned(),
                page: Some(page),
            }),
            false => Err("must begin with https://, unless the host is localhost"),
        }
    }
}

impl PasskeyOrigin {
    /// As client data contain it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl RelyingPartyId {
    /// The domain.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers let a page of an origin use the passkeys of this domain.
    pub fn includes(&self, origin: &PasskeyOrigin) -> bool {
        let Some(page) = &origin.page else {
            return true;
        };
        let above = page.host().strip_suffix(self.0.as_str());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{PasskeyOrigin, RelyingPartyId};

    #[rstest]
    #[case("example.com", true)]
    #[case(" localhost ", true)]
    #[case("xn--bcher-kva.example", true)]
    #[case("", false)]
    #[case("Example.com", false)]
    #[case("bücher.example", false)]
    #[case("example.com.", false)]
    #[case("example.com:443", false)]
    #[case("https://example.com", false)]
    #[case("127.0.0.1", false)]
    #[case("[::1]", false)]
    fn a_relying_party_id_is_a_domain(#[case] text: &str, #[case] is_valid: bool) {
        assert_eq!(text.parse::<RelyingPartyId>().is_ok(), is_valid);
    }

    #[rstest]
    #[case("https://example.com", true)]
    #[case("https://app.example.com:8443", true)]
    #[case("http://localhost:3000", true)]
    #[case("http://app.localhost", true)]
    #[case(
        "android:apk-key-hash:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
        true
    )]
    #[case("android:apk-key-hash:47DEQpj8HBSa", false)]
    #[case("http://example.com", false)]
    #[case("http://127.0.0.1:3000", false)]
    #[case("https://example.com/", false)]
    #[case("example.com", false)]
    #[case("*", false)]
    fn an_origin_is_secure(#[case] text: &str, #[case] is_valid: bool) {
        assert_eq!(text.parse::<PasskeyOrigin>().is_ok(), is_valid);
    }

    #[rstest]
    #[case("https://example.com", true)]
    #[case("https://app.example.com:8443", true)]
    #[case(
        "android:apk-key-hash:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
        true
    )]
    #[case("https://badexample.com", false)]
    #[case("https://example.com.evil.test", false)]
    #[case("https://com", false)]
    fn a_relying_party_includes_the_origins_of_its_domain_and_below(
        #[case] origin: &str,
        #[case] is_included: bool,
    ) {
        let id: RelyingPartyId = "example.com".parse().unwrap();
        assert_eq!(id.includes(&origin.parse().unwrap()), is_included);
    }
}
