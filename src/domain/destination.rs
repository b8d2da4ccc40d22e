use serde::{Deserialize, Serialize};

use super::{
    DestinationId, IngestUrl, Invalid, Name, Platform, PlatformKind, ProjectId, Scheme, Secret,
    Time, UrlPolicy, invalid::refuse,
};

/// A platform's ingest to which a project's streams are sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Destination {
    /// Its id.
    pub id: DestinationId,
    /// The project that it belongs to.
    pub project_id: ProjectId,
    /// The platform.
    pub platform: Platform,
    /// The name its owner gave it.
    pub name: String,
    /// The ingest address, without the stream key.
    pub url: String,
    /// The last four characters of the stream key; empty for a short key.
    pub stream_key_hint: String,
    /// Whether streams are sent there.
    pub enabled: bool,
    /// When it was created.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
}

/// Changes to a destination; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct DestinationUpdate {
    /// The platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub name: Option<Name>,
    /// The ingest address; `Some(None)` means the platform's own.
    pub url: Option<Option<IngestUrl>>,
    /// The stream key.
    pub stream_key: Option<Secret>,
    /// Whether streams are sent there.
    pub enabled: Option<bool>,
}

/// The platform, address and stream key of a destination, checked against each other.
#[derive(Debug, Clone)]
pub struct StreamTarget {
    /// The platform.
    pub platform: Platform,
    /// The ingest address, without the stream key.
    pub url: IngestUrl,
    /// The stream key, as the platform issued it.
    pub stream_key: Secret,
}

impl StreamTarget {
    /// Checks that the three fit together. An error comes with the name of its field.
    pub fn new(
        platform: Platform,
        url: IngestUrl,
        stream_key: Secret,
    ) -> Result<Self, (&'static str, Invalid)> {
        let key = stream_key.expose();
        if key.is_empty() && url.scheme() != Scheme::Srt {
            return Err(("stream_key", Invalid::because("must not be empty")));
        }
        if url.contains_key(key) || url.has_pasted_key(platform.info().urls) {
            return Err((
                "url",
                Invalid::because("must not contain the stream key, which belongs in stream_key"),
            ));
        }

        Ok(Self {
            platform,
            url,
            stream_key,
        })
    }

    /// Parses an address; `None` if it is empty, which means the platform's own.
    pub fn parse_url(text: &str, policy: &UrlPolicy) -> Result<Option<IngestUrl>, Invalid> {
        match text.trim() {
            "" => Ok(None),
            text => IngestUrl::parse(text, policy).map(Some),
        }
    }

    /// The address of a platform that is the same for everybody.
    pub fn own_url(platform: Platform, policy: &UrlPolicy) -> Result<IngestUrl, Invalid> {
        match (platform.info().kind, platform.info().urls.first()) {
            (PlatformKind::Static, Some(address)) => IngestUrl::parse(address, policy),
            _ => refuse(
                "must not be empty: this platform has no address that is the same for everybody",
            ),
        }
    }

    /// Parses a stream key: at most 512 characters, without spaces or control characters.
    pub fn parse_key(text: &str) -> Result<Secret, Invalid> {
        let key = text.trim();
        if key.chars().count() > 512 {
            return refuse("must have at most 512 characters");
        }
        if key.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("must not contain spaces or control characters");
        }
        Ok(Secret::new(key))
    }

    /// The last four characters of a key of at least 12 characters; else empty.
    pub fn key_hint(&self) -> String {
        let characters: Vec<char> = self.stream_key.expose().chars().collect();
        match characters.len() {
            12.. => characters[characters.len() - 4..].iter().collect(),
            _ => String::new(),
        }
    }
}

/// The output address of a relay: its destination's address with the stream key, as ffmpeg takes it.
///
/// The key is opaque and is appended unchanged.
pub fn relay_output_url(address: &str, stream_key: &Secret) -> Secret {
    let key = stream_key.expose();
    let (address, joint) = match address.get(..6) {
        Some(scheme) if scheme.eq_ignore_ascii_case("srt://") => match address.contains('?') {
            _ if key.is_empty() => (address, ""),
            true => (address.trim_end_matches('&'), "&streamid="),
            false => (address.trim_end_matches('/'), "?streamid="),
        },
        // Even with a query, the application ends at the last slash.
        _ => (address.trim_end_matches('/'), "/"),
    };
    Secret::new(format!("{address}{joint}{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_appended_for_each_protocol() {
        let cases = "
            rtmp://a.com/live2 + abcd-efgh = rtmp://a.com/live2/abcd-efgh
            rtmp://a.com/app/ + k = rtmp://a.com/app/k
            RTMP://a.com/app// + k = RTMP://a.com/app/k
            rtmps://a.com:443/rtmp/ + FB-1?s_bl=1&a=Ab%2f+ = rtmps://a.com:443/rtmp/FB-1?s_bl=1&a=Ab%2f+
            rtmp://b.com/live2?backup=1 + k = rtmp://b.com/live2?backup=1/k
            rtmp://a.com/app + ?token=x = rtmp://a.com/app/?token=x
            rtmp://a.com/app + a/b = rtmp://a.com/app/a/b
            srt://a.com:9000 +  = srt://a.com:9000
            srt://a.com:9000?latency=20 +  = srt://a.com:9000?latency=20
            srt://a.com:9000 + publish:k = srt://a.com:9000?streamid=publish:k
            srt://a.com:9000/ + k = srt://a.com:9000?streamid=k
            SRT://a.com:9000?latency=20 + #!::r=k,m=publish = SRT://a.com:9000?latency=20&streamid=#!::r=k,m=publish";
        for case in cases.trim().lines() {
            let (parts, joined) = case.trim().split_once(" = ").expect(case);
            let (address, key) = parts.split_once(" + ").expect(case);
            let url = relay_output_url(address, &Secret::new(key));
            assert_eq!(url.expose(), joined);
        }
    }
}
