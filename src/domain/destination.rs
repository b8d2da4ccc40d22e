use serde::{Deserialize, Serialize};

use super::{
    DestinationId, IngestUrl, Invalid, Name, Platform, PlatformKind, ProjectId, Scheme, Secret,
    SrtEncryption, StreamDelay, Time, UrlPolicy, invalid::refuse,
    invisible_characters::reject_invisible, project::etag, srt::check_stream_id,
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
    #[serde(rename = "name")]
    pub display_name: String,
    /// The ingest address, without the stream key.
    pub url: String,
    /// The last four characters of the stream key; empty for a short key.
    pub stream_key_hint: String,
    /// Whether streams that go live are not sent there.
    #[serde(rename = "enabled", with = "enabled")]
    pub disabled: bool,
    /// Whether the media is encrypted with an SRT passphrase.
    #[serde(default)]
    pub has_srt_passphrase: bool,
    /// The length of the SRT key in bytes; 0 leaves the choice to the worker.
    #[serde(default)]
    pub srt_pbkeylen: i32,
    /// How much later the media is sent.
    #[serde(default, rename = "delay_ms")]
    pub delay: StreamDelay,
    /// The most bits of video in a second, in thousands; 0 means no limit.
    #[serde(default)]
    pub max_video_bitrate_kbps: i32,
    /// The greatest height of the picture in pixels; 0 means no limit.
    #[serde(default)]
    pub max_height: i32,
    /// Whether a second connection with the same key may begin before the first one ends.
    #[serde(default)]
    pub allows_second_connection: bool,
    /// When it was created.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
}

impl Destination {
    /// Identifies its version (AIP-154).
    pub fn etag(&self) -> String {
        let version = (
            self.id.uuid(),
            self.platform.as_str(),
            &self.display_name,
            &self.url,
            self.disabled,
        );
        let changed = (
            &self.stream_key_hint,
            self.has_srt_passphrase,
            self.srt_pbkeylen,
            self.delay.as_millis(),
            (self.max_video_bitrate_kbps, self.max_height),
            self.update_time.timestamp_micros(),
        );
        etag(&(version, changed))
    }
}

/// Changes to a destination; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct DestinationUpdate {
    /// The platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub display_name: Option<Name>,
    /// The ingest address; `Some(None)` means the platform's own.
    pub url: Option<Option<IngestUrl>>,
    /// The stream key.
    pub stream_key: Option<Secret>,
    /// Whether streams that go live are not sent there.
    pub disabled: Option<bool>,
    /// The SRT passphrase; `Some(None)` removes it.
    pub srt_passphrase: Option<Option<Secret>>,
    /// The length of the SRT key in bytes.
    pub srt_pbkeylen: Option<i32>,
    /// How much later the media is sent.
    pub delay: Option<StreamDelay>,
    /// The most bits of video in a second, in thousands; 0 means no limit.
    pub max_video_bitrate_kbps: Option<i32>,
    /// The greatest height of the picture in pixels; 0 means no limit.
    pub max_height: Option<i32>,
    /// Whether a second connection with the same key may begin before the first one ends.
    pub allows_second_connection: Option<bool>,
}

/// Stored events have the opposite, `enabled`.
mod enabled {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(disabled: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        (!disabled).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        bool::deserialize(deserializer).map(|enabled| !enabled)
    }
}

impl DestinationUpdate {
    /// Whether it changes where or how streams are sent.
    pub fn changes_target(&self) -> bool {
        self.platform.is_some()
            || self.url.is_some()
            || self.stream_key.is_some()
            || self.srt_passphrase.is_some()
            || self.srt_pbkeylen.is_some()
    }
}

/// The platform, address, stream key and encryption of a destination, checked against each other.
#[derive(Debug, Clone)]
pub struct StreamTarget {
    /// The platform.
    pub platform: Platform,
    /// The ingest address, without the stream key.
    pub url: IngestUrl,
    /// The stream key, as the platform issued it.
    pub stream_key: Secret,
    /// The encryption, which only SRT has.
    pub srt_encryption: Option<SrtEncryption>,
}

impl StreamTarget {
    /// Checks that they fit together. An error comes with the name of its field.
    pub fn new(
        platform: Platform,
        url: IngestUrl,
        stream_key: Secret,
        srt_encryption: Option<SrtEncryption>,
    ) -> Result<Self, (&'static str, Invalid)> {
        let key = stream_key.expose();
        let is_srt = url.scheme() == Scheme::Srt;
        if is_srt {
            check_stream_id(key).map_err(|invalid| ("stream_key", invalid))?;
        } else if srt_encryption.is_some() {
            let invalid = Invalid::because("must be empty: only an srt:// destination has one");
            return Err(("srt_passphrase", invalid));
        }
        if key.is_empty() && !is_srt {
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
            srt_encryption,
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

    /// Parses a stream key: at most 512 characters, none of them white space or invisible, after
    /// white space around it is removed.
    pub fn parse_key(text: &str) -> Result<Secret, Invalid> {
        let key = text.trim();
        if key.chars().count() > 512 {
            return refuse("must have at most 512 characters");
        }
        reject_invisible(key)?;
        if is_url(key) {
            return refuse("must be the stream key only: the address before it belongs in url");
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

/// Whether a text starts with the scheme of a URL, such as `rtmp://`.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        let mut bytes = scheme.bytes();
        bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// The address of a destination without slashes at its end. For RTMP, all behind the host is the
/// application with its query, as OBS and librtmp read it.
pub fn relay_server_url(address: &str) -> &str {
    match is_srt(address) {
        true => address,
        false => address.trim_end_matches('/'),
    }
}

/// The address of a destination joined with its stream key, as people write it.
///
/// The key is opaque and is appended unchanged. The result cannot be split again: both parts may
/// contain slashes and queries.
pub fn relay_output_url(address: &str, stream_key: &Secret) -> Secret {
    let key = stream_key.expose();
    let (address, joint) = match is_srt(address) {
        true => match address.contains('?') {
            _ if key.is_empty() => (address, ""),
            true => (address.trim_end_matches('&'), "&streamid="),
            false => (address.trim_end_matches('/'), "?streamid="),
        },
        false => (relay_server_url(address), "/"),
    };
    Secret::new(format!("{address}{joint}{key}"))
}

fn is_srt(address: &str) -> bool {
    let scheme = address.get(..6);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("srt://"))
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

    #[test]
    fn the_server_url_keeps_the_whole_application() {
        for (address, server_url) in [
            (
                "rtmp://a.com/app/inst?user=a&pass=b",
                "rtmp://a.com/app/inst?user=a&pass=b",
            ),
            ("rtmps://a.com:443/rtmp/", "rtmps://a.com:443/rtmp"),
            ("srt://a.com:9000/", "srt://a.com:9000/"),
        ] {
            assert_eq!(relay_server_url(address), server_url);
        }
    }

    #[test]
    fn a_key_is_trimmed_visible_and_no_url() {
        for key in ["abc/def==", "FB-1?s_bl=1&a=Ab%2f+", "a:b://c", "://x", ""] {
            let parsed = StreamTarget::parse_key(&format!(" \u{a0}{key}\r\n")).expect(key);
            assert_eq!(parsed.expose(), key);
        }
        for (key, reason) in [
            ("rtmp://a.com/app/key", "belongs in url"),
            ("SRT://a.com:9000?streamid=key", "belongs in url"),
            ("https://a.com/key", "belongs in url"),
            ("a\u{200b}b", "U+200B"),
            ("\u{feff}", "U+FEFF"),
            ("two words", "U+0020"),
        ] {
            let Invalid(message) = StreamTarget::parse_key(key).expect_err(key);
            assert!(message.contains(reason), "{key}: {message}");
        }
    }
}
