use url::Url;

use super::{Invalid, UrlPolicy, destination_host::parse_host, invalid::refuse};

/// The longest URL of an endpoint, in bytes.
const MAX_BYTES: usize = 2048;

/// The URL of an endpoint: https, or http where private hosts are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// Parses a URL. The name of its host may still resolve to a private address, which is checked
    /// before each connection.
    pub fn parse(text: &str, policy: &UrlPolicy) -> Result<Self, Invalid> {
        let text = text.trim();
        match text.len() {
            0 => return refuse("must not be empty"),
            1..=MAX_BYTES => {}
            _ => return refuse("must have at most 2048 bytes"),
        }
        let Ok(url) = Url::parse(text) else {
            return refuse("must be a URL such as https://example.com/hooks");
        };
        match (url.scheme(), policy.allow_private) {
            ("https", _) | ("http", true) => {}
            _ => return refuse("must begin with https://"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("must not contain a user or a password: requests are signed");
        }
        if url.fragment().is_some() {
            return refuse("must not have a fragment");
        }
        let host = url.host_str().and_then(parse_host);
        let host = host.ok_or_else(|| Invalid::because("must name a host in its usual form"))?;
        policy.check(&host, url.port_or_known_default())?;
        match url.as_str().len() {
            ..=MAX_BYTES => Ok(Self(url.into())),
            _ => refuse("must have at most 2048 bytes"),
        }
    }

    /// The URL in its usual form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WebhookUrl, Invalid> {
        WebhookUrl::parse(text, &UrlPolicy::default())
    }

    #[test]
    fn a_url_is_https_with_a_public_host() {
        for (text, url) in [
            ("https://example.com", "https://example.com/"),
            (
                " HTTPS://Example.com:8443/a?b=c ",
                "https://example.com:8443/a?b=c",
            ),
            ("https://8.8.8.8/", "https://8.8.8.8/"),
            ("https://[2606:4700::1]/h", "https://[2606:4700::1]/h"),
        ] {
            assert_eq!(parse(text).unwrap().as_str(), url);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        let long = format!("https://example.com/{}", "a".repeat(2048));
        for text in [
            "",
            "example.com",
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://example.com/#a",
            "https://localhost/",
            "https://localhost./",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://metadata.google.internal/",
            "https://intranet/",
            "https://１２７.0.0.1/",
            &long,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn http_and_private_hosts_can_be_allowed() {
        let policy = UrlPolicy {
            allow_private: true,
            ..UrlPolicy::default()
        };
        for text in ["http://127.0.0.1:8080/", "https://localhost/"] {
            assert!(WebhookUrl::parse(text, &policy).is_ok(), "{text}");
        }
        assert!(WebhookUrl::parse("ftp://example.com/", &policy).is_err());
    }
}
