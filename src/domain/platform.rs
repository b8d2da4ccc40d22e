//! What is known of each platform's ingest.
//!
//! Addresses and limits are those of OBS's `rtmp-services` (2026-08-21) or of the platform's own
//! documentation. An address that is not confirmed is left out: people copy what the platform shows.

use PlatformKind::{PerAccount, PerEvent, Regional, Static};

/// A streaming platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Any RTMP, RTMPS or SRT server.
    Custom,
    /// YouTube Live.
    Youtube,
    /// Twitch.
    Twitch,
    /// Facebook Live.
    Facebook,
    /// X (Twitter) Producer.
    X,
    /// Kick.
    Kick,
    /// Amazon Interactive Video Service.
    AmazonIvs,
    /// LinkedIn Live.
    Linkedin,
    /// TikTok LIVE.
    Tiktok,
    /// Instagram Live Producer.
    Instagram,
    /// Rumble.
    Rumble,
    /// Trovo.
    Trovo,
    /// Restream.
    Restream,
    /// Mux.
    Mux,
    /// Cloudflare Stream.
    Cloudflare,
    /// Livepeer.
    Livepeer,
    /// Castr.
    Castr,
    /// Switchboard Live.
    Switchboard,
    /// Steam.
    Steam,
    /// DLive.
    Dlive,
    /// Nimo TV.
    Nimo,
    /// Picarto.
    Picarto,
    /// Bilibili.
    Bilibili,
    /// CHZZK.
    Chzzk,
    /// SOOP.
    Soop,
    /// niconico.
    Niconico,
    /// KakaoTV.
    Kakaotv,
    /// Vimeo.
    Vimeo,
}

/// How a platform gives out its ingest address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlatformKind {
    /// One address for everybody.
    Static,
    /// One address a region.
    Regional,
    /// One address an account or channel.
    PerAccount,
    /// One address a broadcast.
    PerEvent,
}

/// Whether a platform's ingest is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls {
    /// Not known.
    Unknown,
    /// Plain RTMP is refused.
    Required,
    /// RTMPS and plain RTMP both work.
    Offered,
    /// No RTMPS address is known.
    None,
}

/// What a platform takes, as its own tools recommend it; 0 means not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Seconds between key frames.
    pub keyframe_interval_seconds: u32,
    /// Most video, in kbit/s.
    pub max_video_bitrate_kbps: u32,
    /// Most audio, in kbit/s.
    pub max_audio_bitrate_kbps: u32,
}

/// What is known of a platform's ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo {
    /// Which one.
    pub platform: Platform,
    /// Its name, for people.
    pub display_name: &'static str,
    /// How it gives out its address.
    pub kind: PlatformKind,
    /// Its known addresses, the best first.
    pub urls: &'static [&'static str],
    /// Whether its ingest is encrypted.
    pub tls: Tls,
    /// What it takes.
    pub limits: Limits,
    /// One sentence that a person should know before using it; may be empty.
    pub note: &'static str,
}

impl Platform {
    /// All platforms, in the order of the API's enum.
    pub const ALL: [Self; 28] = {
        let mut all = [Self::Custom; 28];
        let mut index = 0;
        while index < all.len() {
            all[index] = CATALOGUE[index].platform;
            index += 1;
        }
        all
    };

    /// The name that the database keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Youtube => "youtube",
            Self::Twitch => "twitch",
            Self::Facebook => "facebook",
            Self::X => "x",
            Self::Kick => "kick",
            Self::AmazonIvs => "amazon_ivs",
            Self::Linkedin => "linkedin",
            Self::Tiktok => "tiktok",
            Self::Instagram => "instagram",
            Self::Rumble => "rumble",
            Self::Trovo => "trovo",
            Self::Restream => "restream",
            Self::Mux => "mux",
            Self::Cloudflare => "cloudflare",
            Self::Livepeer => "livepeer",
            Self::Castr => "castr",
            Self::Switchboard => "switchboard",
            Self::Steam => "steam",
            Self::Dlive => "dlive",
            Self::Nimo => "nimo",
            Self::Picarto => "picarto",
            Self::Bilibili => "bilibili",
            Self::Chzzk => "chzzk",
            Self::Soop => "soop",
            Self::Niconico => "niconico",
            Self::Kakaotv => "kakaotv",
            Self::Vimeo => "vimeo",
        }
    }

    /// The platform of that name in the database, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|platform| platform.as_str() == text)
    }

    /// What is known of its ingest.
    pub fn info(self) -> &'static PlatformInfo {
        &CATALOGUE[self as usize]
    }
}

static CATALOGUE: [PlatformInfo; 28] = {
    use Platform::*;

    [
        known(Custom, "Custom", PerAccount, Tls::Unknown)
            .note("Needs the address of an RTMP, RTMPS or SRT server."),
        known(Youtube, "YouTube Live", Static, Tls::Offered)
            .urls(&[
                "rtmps://a.rtmps.youtube.com:443/live2",
                "rtmps://b.rtmps.youtube.com:443/live2?backup=1",
                "rtmp://a.rtmp.youtube.com/live2",
                "rtmp://b.rtmp.youtube.com/live2?backup=1",
            ])
            .limits(2, 51_000, 160),
        known(Twitch, "Twitch", Static, Tls::Offered)
            .urls(&["rtmp://live.twitch.tv/app"])
            .limits(2, 6_000, 320)
            .note("https://ingest.twitch.tv/ingests lists nearer servers, also with RTMPS."),
        known(Facebook, "Facebook Live", Static, Tls::Required)
            .urls(&["rtmps://rtmp-api.facebook.com:443/rtmp/"])
            .limits(2, 9_000, 128)
            .note("The stream key is made for one broadcast: copy it anew each time."),
        known(X, "X", Regional, Tls::None)
            .urls(&[
                "rtmp://ca.pscp.tv:80/x",
                "rtmp://or.pscp.tv:80/x",
                "rtmp://va.pscp.tv:80/x",
                "rtmp://br.pscp.tv:80/x",
                "rtmp://fr.pscp.tv:80/x",
                "rtmp://ie.pscp.tv:80/x",
                "rtmp://de.pscp.tv:80/x",
                "rtmp://au.pscp.tv:80/x",
                "rtmp://in.pscp.tv:80/x",
                "rtmp://jp.pscp.tv:80/x",
                "rtmp://kr.pscp.tv:80/x",
                "rtmp://sg.pscp.tv:80/x",
            ])
            .limits(3, 12_000, 128)
            .note("Choose the address of the region that the Producer shows."),
        known(Kick, "Kick", PerAccount, Tls::Required)
            .note("Copy the address from the dashboard: it must include /app."),
        known(AmazonIvs, "Amazon IVS", PerAccount, Tls::Offered)
            .limits(2, 0, 0)
            .note("Copy the channel's address from the dashboard: it must include /app."),
        known(Linkedin, "LinkedIn Live", PerEvent, Tls::Offered)
            .note("Copy the address and the key from the event's dashboard each time."),
        known(Tiktok, "TikTok LIVE", PerEvent, Tls::Unknown)
            .note("Copy the address and the key from the LIVE dashboard each time."),
        known(Instagram, "Instagram Live", PerEvent, Tls::Unknown)
            .note("Copy the address and the key from the Live Producer dashboard each time."),
        known(Rumble, "Rumble", PerEvent, Tls::Unknown)
            .note("Copy the address and the key from the stream's dashboard each time."),
        known(Trovo, "Trovo", Static, Tls::None)
            .urls(&["rtmp://livepush.trovo.live/live/"])
            .limits(2, 9_000, 160),
        known(Restream, "Restream", Static, Tls::None)
            .urls(&["rtmp://live.restream.io/live"])
            .limits(2, 0, 0),
        known(Mux, "Mux", Static, Tls::Offered)
            .urls(&[
                "rtmps://global-live.mux.com:443/app",
                "rtmp://global-live.mux.com:5222/app",
            ])
            .limits(2, 5_000, 160),
        known(Cloudflare, "Cloudflare Stream", Static, Tls::Required)
            .urls(&["rtmps://live.cloudflare.com:443/live/"]),
        known(Livepeer, "Livepeer", Static, Tls::None)
            .urls(&["rtmp://rtmp.livepeer.com/live"])
            .limits(1, 20_000, 512),
        known(Castr, "Castr", Regional, Tls::None)
            .limits(2, 0, 0)
            .note("Copy the address of the region from the dashboard."),
        known(Switchboard, "Switchboard Live", Static, Tls::Required)
            .urls(&["rtmps://live.sb.zone:443/live"])
            .limits(2, 0, 0),
        known(Steam, "Steam", Static, Tls::None)
            .urls(&["rtmp://ingest-rtmp.broadcast.steamcontent.com/app"])
            .limits(2, 7_000, 128),
        known(Dlive, "DLive", Static, Tls::None)
            .urls(&["rtmp://stream.dlive.tv/live"])
            .limits(2, 6_000, 160),
        known(Nimo, "Nimo TV", Static, Tls::None)
            .urls(&[
                "rtmp://txpush.rtmp.nimo.tv/live/",
                "rtmp://alpush.rtmp.nimo.tv/live/",
            ])
            .limits(2, 6_000, 160),
        known(Picarto, "Picarto", Static, Tls::None)
            .urls(&["rtmp://live.us.picarto.tv/golive"])
            .limits(2, 3_500, 0),
        known(Bilibili, "Bilibili", Static, Tls::None)
            .urls(&["rtmp://live-push.bilivideo.com/live-bvc/"])
            .note("The stream key contains ? and &: copy all of it."),
        known(Chzzk, "CHZZK", Static, Tls::None)
            .urls(&["rtmp://global-rtmp.lip2.navercorp.com:8080/relay"])
            .limits(1, 8_000, 192),
        known(Soop, "SOOP", Static, Tls::None)
            .urls(&[
                "rtmp://global-stream.sooplive.com/app",
                "rtmp://stream.sooplive.co.kr/app/",
            ])
            .limits(1, 8_000, 192)
            .note("The first address is SOOP Global, the second SOOP Korea."),
        known(Niconico, "niconico", Static, Tls::None)
            .urls(&["rtmp://liveorigin.dlive.nicovideo.jp/live/input"])
            .limits(2, 5_808, 192),
        known(Kakaotv, "KakaoTV", Static, Tls::None)
            .urls(&["rtmp://rtmp.play.kakao.com/kakaotv"])
            .limits(0, 8_000, 192),
        known(Vimeo, "Vimeo", Static, Tls::None).urls(&["rtmp://rtmp.cloud.vimeo.com/live"]),
    ]
};

const fn known(
    platform: Platform,
    display_name: &'static str,
    kind: PlatformKind,
    tls: Tls,
) -> PlatformInfo {
    PlatformInfo {
        platform,
        display_name,
        kind,
        urls: &[],
        tls,
        limits: limits(0, 0, 0),
        note: "",
    }
}

const fn limits(keyframe_interval_seconds: u32, video_kbps: u32, audio_kbps: u32) -> Limits {
    Limits {
        keyframe_interval_seconds,
        max_video_bitrate_kbps: video_kbps,
        max_audio_bitrate_kbps: audio_kbps,
    }
}

impl PlatformInfo {
    const fn urls(self, urls: &'static [&'static str]) -> Self {
        Self { urls, ..self }
    }

    const fn limits(self, keyframe_interval: u32, video_kbps: u32, audio_kbps: u32) -> Self {
        let limits = limits(keyframe_interval, video_kbps, audio_kbps);
        Self { limits, ..self }
    }

    const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{IngestUrl, UrlPolicy};

    #[test]
    fn the_catalogue_is_in_the_order_of_the_enum() {
        for (index, platform) in Platform::ALL.into_iter().enumerate() {
            assert_eq!(platform as usize, index, "{platform:?}");
            assert_eq!(platform.info().platform, platform);
        }
    }

    #[test]
    fn every_platform_is_found_by_its_name() {
        for platform in Platform::ALL {
            assert_eq!(Platform::parse(platform.as_str()), Some(platform));
        }
        assert_eq!(Platform::parse("Youtube"), None);
        assert_eq!(Platform::parse(""), None);
    }

    #[test]
    fn every_address_is_one_that_a_destination_may_have() {
        for info in &CATALOGUE {
            for url in info.urls {
                let parsed = IngestUrl::parse(url, &UrlPolicy::default()).expect(url);
                assert!(!parsed.has_pasted_key(info.urls), "{url}");
            }
        }
    }

    #[test]
    fn only_addresses_that_everybody_shares_are_listed() {
        for info in &CATALOGUE {
            match info.kind {
                Static => assert!(!info.urls.is_empty(), "{info:?}"),
                Regional => assert!(!info.note.is_empty(), "{info:?}"),
                PerAccount | PerEvent => {
                    assert!(info.urls.is_empty(), "{info:?}");
                    let told = info.note.contains("dashboard");
                    assert!(told || info.platform == Platform::Custom, "{info:?}");
                }
            }
        }
    }

    #[test]
    fn the_first_address_is_encrypted_where_an_encrypted_one_is_known() {
        for info in &CATALOGUE {
            let encrypted = |url: &&str| url.starts_with("rtmps://");
            assert!(
                info.urls.is_sorted_by_key(|url| !encrypted(url)),
                "{info:?}"
            );
            match info.tls {
                Tls::Required => assert!(info.urls.iter().all(encrypted), "{info:?}"),
                Tls::None => assert!(!info.urls.iter().any(encrypted), "{info:?}"),
                Tls::Unknown | Tls::Offered => {}
            }
        }
    }

    #[test]
    fn contradicted_addresses_are_nowhere() {
        let catalogue = format!("{CATALOGUE:?}");
        let hosts = "stream.kick.com live.tiktok.com ingest.linkedin.com ingest.pscp.tv";
        for host in hosts.split_whitespace() {
            assert!(!catalogue.contains(host), "{host}");
        }
    }
}
