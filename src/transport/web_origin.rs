use std::str::FromStr;

use http::HeaderValue;
use url::Url;

/// The origin of a web site: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(HeaderValue);

impl WebOrigin {
    /// The value of the `origin` header.
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl FromStr for WebOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const INVALID: &str = "must be origins such as https://app.example.com, without a path";
        let text = text.trim();
        if text == "*" {
            return Err("must name the web sites: `*` would let every web page call");
        }
        let url = Url::parse(text).map_err(|_| INVALID)?;
        // The serialization of browsers, so that headers can be compared byte by byte.
        let is_origin = url.origin().ascii_serialization() == text && !text.contains('*');
        if !is_origin || !matches!(url.scheme(), "http" | "https") {
            return Err(INVALID);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| INVALID)
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
        assert_eq!(text.parse::<WebOrigin>().is_ok(), is_origin);
    }
}
