//! What is known of each platform's ingest.
//!
//! Addresses and limits are those of OBS's `rtmp-services` (2026-08-21) or of the platform's own
//! documentation. An address that is not confirmed is left out: people copy what the platform shows.

use serde::{Deserialize, Serialize};

use super::platform_catalogue::CATALOGUE;

/// A streaming platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

#[cfg(test)]
mod tests {
    use super::{
        PlatformKind::{PerAccount, PerEvent, Regional, Static},
        *,
    };
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
