use std::str::FromStr;

use http::HeaderValue;
use url::Url;

/// A web site, as browsers name it: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(HeaderValue);

impl WebOrigin {
    /// As it stands in the header `origin`.
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl FromStr for WebOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be origins such as https://app.example.com, without a path";
        let text = text.trim();
        if text == "*" {
            return Err(
                "must name the web sites: with `*` any page that a person opens could call",
            );
        }
        let url = Url::parse(text).map_err(|_| WRONG)?;
        // As browsers write it, so that comparing is enough.
        let is_origin = url.origin().ascii_serialization() == text && !text.contains('*');
        if !is_origin || !matches!(url.scheme(), "http" | "https") {
            return Err(WRONG);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| WRONG)
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
    fn an_origin_is_scheme_host_and_port_as_browsers_write_them(
        #[case] text: &str,
        #[case] is_origin: bool,
    ) {
        assert_eq!(text.parse::<WebOrigin>().is_ok(), is_origin);
    }
}
