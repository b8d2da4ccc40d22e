use std::str::FromStr;

use url::{Host, Url};

/// The origin of a web site: scheme, host and port, as browsers serialize it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(Url);

impl FromStr for WebOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const INVALID: &str = "must be origins such as https://app.example.com, without a path";
        let text = text.trim();
        if text == "*" {
            return Err("must name the web sites: `*` would let every web page call");
        }
        let url = Url::parse(text).map_err(|_| INVALID)?;
        // The serialization of browsers, so that origins can be compared byte by byte.
        let is_origin = url.origin().ascii_serialization() == text && !text.contains('*');
        match is_origin && matches!(url.scheme(), "http" | "https") {
            true => Ok(Self(url)),
            false => Err(INVALID),
        }
    }
}

impl WebOrigin {
    /// The origin as in the `origin` header, in ASCII.
    pub fn serialize(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The host.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether browsers give pages of this origin all their functions: with TLS, or on this machine
    /// by its name.
    pub fn is_secure(&self) -> bool {
        let is_local = match self.0.host() {
            Some(Host::Domain(domain)) => domain == "localhost" || domain.ends_with(".localhost"),
            _ => false,
        };
        self.0.scheme() == "https" || is_local
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::WebOrigin;

    #[rstest]
    #[case("https://app.example.com", true)]
    #[case(" http://localhost:3000", true)]
    #[case("https://[::1]:8443", true)]
    #[case("*", false)]
    #[case("null", false)]
    #[case("app.example.com", false)]
    #[case("https://app.example.com/", false)]
    #[case("https://app.example.com:443", false)]
    #[case("https://App.example.com", false)]
    #[case("https://*.example.com", false)]
    #[case("https://user@app.example.com", false)]
    #[case("ftp://app.example.com", false)]
    fn an_origin_is_scheme_host_and_port_in_the_serialization_of_browsers(
        #[case] text: &str,
        #[case] is_origin: bool,
    ) {
        let parsed = text.parse::<WebOrigin>();
        assert_eq!(parsed.is_ok(), is_origin);
        if let Ok(origin) = parsed {
            assert_eq!(origin.serialize(), text.trim());
        }
    }
}
