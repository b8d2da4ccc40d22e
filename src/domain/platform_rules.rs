//! Which addresses can be those of a platform.

use super::{
    IngestUrl, Invalid, Platform, PlatformInfo, PlatformKind, PlatformTls, Scheme, invalid::refuse,
};

impl PlatformInfo {
    /// Rejects an address that cannot work for the platform.
    pub fn check_url(&self, url: &IngestUrl) -> Result<(), Invalid> {
        if self.platform == Platform::Custom {
            return Ok(());
        }
        let name = self.display_name;
        match url.scheme() {
            Scheme::Rtmp if self.tls == PlatformTls::Required => {
                return refuse(format!(
                    "must start with rtmps://: {name} refuses plain RTMP"
                ));
            }
            Scheme::Srt if !self.may_accept_srt => {
                return refuse(format!(
                    "must start with rtmps:// or rtmp://: {name} does not accept SRT"
                ));
            }
            Scheme::Rtmp | Scheme::Rtmps | Scheme::Srt => {}
        }
        if url.is_within(self.hosts) {
            return Ok(());
        }
        if let Some(owner) = Platform::owners(url).first() {
            return refuse(format!(
                "must be an address of {name}, not of {}",
                owner.display_name
            ));
        }
        if self.kind == PlatformKind::Static && !self.hosts.is_empty() {
            return refuse(format!(
                "must have a host of {name} ({}): another server needs the platform CUSTOM",
                self.hosts.join(", ")
            ));
        }
        Ok(())
    }

    /// Whether an address has a host that the platform is not known to use.
    pub fn is_unknown_host(&self, url: &IngestUrl) -> bool {
        !self.hosts.is_empty() && !url.is_within(self.hosts)
    }
}

impl Platform {
    /// The platforms that use the host of an address.
    pub fn owners(url: &IngestUrl) -> Vec<&'static PlatformInfo> {
        let platforms = Self::ALL.into_iter().map(Self::info);
        platforms.filter(|info| url.is_within(info.hosts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UrlPolicy;

    fn check(platform: Platform, url: &str) -> Result<(), Invalid> {
        let url = IngestUrl::parse(url, &UrlPolicy::default()).expect(url);
        platform.info().check_url(&url)
    }

    #[test]
    fn addresses_that_cannot_work_are_rejected() {
        use Platform::*;
        for (platform, url, reason) in [
            (
                Facebook,
                "rtmp://live-api-s.facebook.com:80/rtmp",
                "refuses plain RTMP",
            ),
            (
                Kick,
                "rtmp://fa723.global-contribute.live-video.net/app",
                "refuses plain RTMP",
            ),
            (
                Youtube,
                "rtmp://evil.example.com/live2",
                "a host of YouTube Live (youtube.com)",
            ),
            (
                Youtube,
                "rtmp://notyoutube.com/live2",
                "a host of YouTube Live",
            ),
            (
                Youtube,
                "rtmp://youtube.com.example.com/live2",
                "a host of YouTube Live",
            ),
            (Youtube, "rtmp://8.8.8.8/live2", "a host of YouTube Live"),
            (
                Youtube,
                "srt://a.rtmp.youtube.com:9000",
                "does not accept SRT",
            ),
            (
                Twitch,
                "rtmps://a.rtmps.youtube.com/live2",
                "not of YouTube Live",
            ),
            (
                Tiktok,
                "rtmps://a.rtmps.youtube.com/live2",
                "not of YouTube Live",
            ),
            (
                Kick,
                "rtmps://a.rtmps.youtube.com/live2",
                "not of YouTube Live",
            ),
        ] {
            let Invalid(message) = check(platform, url).expect_err(url);
            assert!(message.contains(reason), "{url}: {message}");
        }
    }

    #[test]
    fn addresses_that_may_work_are_accepted() {
        use Platform::*;
        for (platform, url) in [
            (Custom, "rtmp://evil.example.com/live2"),
            (Custom, "rtmp://live-api-s.facebook.com:80/rtmp"),
            (Youtube, "RTMP://X.RTMP.YouTube.com./live2"),
            (Twitch, "rtmps://fra05.contribute.live-video.net/app"),
            (Twitch, "rtmp://live-fra.twitch.tv/app"),
            (Kick, "rtmps://fa723.global-contribute.live-video.net/app"),
            (Kick, "rtmps://ingest.example.com/app"),
            (Tiktok, "rtmp://push.example.com/game"),
            (Cloudflare, "srt://live.cloudflare.com:778"),
        ] {
            assert_eq!(check(platform, url), Ok(()), "{url}");
        }
    }

    #[test]
    fn every_listed_address_passes_the_rules_of_its_platform() {
        for info in Platform::ALL.map(Platform::info) {
            for url in info.urls {
                assert_eq!(check(info.platform, url), Ok(()), "{url}");
                let url = IngestUrl::parse(url, &UrlPolicy::default()).expect(url);
                assert!(!info.is_unknown_host(&url), "{url:?}");
            }
        }
    }
}
