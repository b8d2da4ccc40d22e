use super::{DestinationId, IngestUrl, Platform, PlatformTls, Scheme, UrlPolicy};

/// What kind of advice a lint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LintCode {
    /// The key and the media are sent unencrypted, although the platform offers RTMPS.
    PlainRtmp,
    /// Another destination of the project has the same address and key.
    DuplicateDestination,
    /// The platform is not known to use this host.
    UnknownHost,
    /// The address is one of a platform, but the destination is CUSTOM.
    PlatformRecognized,
    /// The address has SRT options without effect.
    UnusedSrtOptions,
    /// The saved address would be refused today.
    UrlOutdated,
    /// The key begins like an address.
    KeyIsUrl,
    /// The key looks like one of another platform.
    KeyOfAnotherPlatform,
    /// The key is a placeholder.
    KeyIsPlaceholder,
}

/// Advice about a destination that was saved: it can work, but is unwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationLint {
    /// The kind of advice.
    pub code: LintCode,
    /// The field of the destination that it is about.
    pub field: &'static str,
    /// The advice.
    pub message: String,
}

impl DestinationLint {
    /// The lints of an address.
    pub fn of_url(platform: Platform, url: &str, policy: &UrlPolicy) -> Vec<Self> {
        let Ok(url) = IngestUrl::saved(url) else {
            return Vec::new();
        };
        let found = [
            outdated(platform, &url, policy),
            plain_rtmp(platform, &url),
            unknown_host(platform, &url),
            recognized_platform(platform, &url),
            unused_srt_options(&url),
        ];
        found.into_iter().flatten().collect()
    }

    /// The lint of a destination that has the address and key of another one.
    pub fn duplicate_of(other: DestinationId) -> Self {
        let message = format!(
            "destination {other} has the same address and key: a platform refuses one of them"
        );
        lint(LintCode::DuplicateDestination, "stream_key", message)
    }
}

pub(super) fn lint(code: LintCode, field: &'static str, message: String) -> DestinationLint {
    DestinationLint {
        code,
        field,
        message,
    }
}

fn outdated(platform: Platform, url: &IngestUrl, policy: &UrlPolicy) -> Option<DestinationLint> {
    let checked = IngestUrl::parse(url.as_str(), policy);
    let invalid = checked
        .and_then(|url| platform.info().check_url(&url))
        .err()?;
    let message = format!("the saved address would be refused today: it {}", invalid.0);
    Some(lint(LintCode::UrlOutdated, "url", message))
}

fn plain_rtmp(platform: Platform, url: &IngestUrl) -> Option<DestinationLint> {
    let mut platforms = match platform {
        Platform::Custom => Platform::owners(url),
        _ => vec![platform.info()],
    }
    .into_iter();
    let encrypted = |tls| matches!(tls, PlatformTls::Offered | PlatformTls::Required);
    let info = platforms.find(|info| encrypted(info.tls))?;
    let message = format!(
        "{} offers RTMPS: plain RTMP sends the stream key unencrypted",
        info.display_name
    );
    (url.scheme() == Scheme::Rtmp).then(|| lint(LintCode::PlainRtmp, "url", message))
}

fn unknown_host(platform: Platform, url: &IngestUrl) -> Option<DestinationLint> {
    let info = platform.info();
    let message = format!(
        "{} is known to use only hosts of {}",
        info.display_name,
        info.hosts.join(", ")
    );
    info.is_unknown_host(url)
        .then(|| lint(LintCode::UnknownHost, "url", message))
}

fn recognized_platform(platform: Platform, url: &IngestUrl) -> Option<DestinationLint> {
    let owners = Platform::owners(url);
    let [owner] = owners[..] else {
        return None;
    };
    let message = format!(
        "this is an address of {}: with that platform, its rules and limits are known",
        owner.display_name
    );
    (platform == Platform::Custom).then(|| lint(LintCode::PlatformRecognized, "platform", message))
}

fn unused_srt_options(url: &IngestUrl) -> Option<DestinationLint> {
    let options = url.unused_srt_options();
    let message = format!("sluice edge does not use {}", options.join(", "));
    (!options.is_empty()).then(|| lint(LintCode::UnusedSrtOptions, "url", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(platform: Platform, url: &str) -> Vec<LintCode> {
        let lints = DestinationLint::of_url(platform, url, &UrlPolicy::default());
        lints.into_iter().map(|lint| lint.code).collect()
    }

    #[test]
    fn unwise_addresses_are_named() {
        use LintCode::*;
        use Platform::{Custom, Facebook, Kick, Twitch, X, Youtube};
        let cases: [(Platform, &str, &[LintCode]); 12] = [
            (Youtube, "rtmps://a.rtmps.youtube.com:443/live2", &[]),
            (Youtube, "rtmp://a.rtmp.youtube.com/live2", &[PlainRtmp]),
            (Twitch, "rtmp://live.twitch.tv/app", &[PlainRtmp]),
            (X, "rtmp://va.pscp.tv:80/x", &[]),
            (Kick, "rtmps://ingest.example.com/app", &[UnknownHost]),
            (Custom, "rtmp://live.example.com/app", &[]),
            (
                Custom,
                "rtmps://a.rtmps.youtube.com/live2",
                &[PlatformRecognized],
            ),
            (
                Custom,
                "rtmp://a.rtmp.youtube.com/live2",
                &[PlainRtmp, PlatformRecognized],
            ),
            // Twitch, Kick and Amazon IVS share these hosts.
            (Custom, "rtmps://fra05.contribute.live-video.net/app", &[]),
            (Custom, "srt://live.example.com:9000?latency=20", &[]),
            (
                Custom,
                "srt://live.example.com:9000?transtype=file",
                &[UnusedSrtOptions],
            ),
            (
                Facebook,
                "rtmp://live-api-s.facebook.com:80/rtmp",
                &[UrlOutdated, PlainRtmp],
            ),
        ];
        for (platform, url, expected) in cases {
            assert_eq!(codes(platform, url), expected, "{url}");
        }
    }

    #[test]
    fn a_saved_address_that_breaks_later_rules_is_outdated() {
        for (platform, url) in [
            (Platform::Custom, "srt://a.com:9000?mode=listener"),
            (Platform::Custom, "rtmp://192.88.99.1/app"),
            (Platform::Youtube, "rtmp://evil.example.com/live2"),
        ] {
            assert!(
                codes(platform, url).contains(&LintCode::UrlOutdated),
                "{url}"
            );
        }
    }
}
