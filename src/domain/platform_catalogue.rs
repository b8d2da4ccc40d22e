//! The ingest addresses and limits of each platform.
//!
//! They are those of OBS's `rtmp-services` (2026-08-21) or of the platform's own documentation.
//! Unconfirmed addresses are left out: people copy the address that the platform shows.

use self::{
    PlatformKind::{PerAccount, PerEvent, Regional, Static},
    PlatformTls::{Offered, Required, Unknown},
};
use super::Platform;

/// Who shares an ingest address of a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlatformKind {
    /// Everybody.
    Static,
    /// Everybody in a region.
    Regional,
    /// Nobody: each account or channel has its own.
    PerAccount,
    /// Nobody: each broadcast has its own.
    PerEvent,
}

/// Whether a platform's ingest is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlatformTls {
    /// Unknown.
    Unknown,
    /// Plain RTMP is refused.
    Required,
    /// RTMPS and plain RTMP both work.
    Offered,
    /// No RTMPS address is known.
    None,
}

/// The limits that a platform recommends; 0 means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformLimits {
    /// The time between key frames, in seconds.
    pub keyframe_interval_seconds: u32,
    /// The highest video bit rate, in kbit/s.
    pub max_video_bitrate_kbps: u32,
    /// The highest audio bit rate, in kbit/s.
    pub max_audio_bitrate_kbps: u32,
    /// The video codecs that it accepts over RTMP; empty means unknown.
    pub video_codecs: &'static [&'static str],
    /// The audio codecs that it accepts over RTMP; empty means unknown.
    pub audio_codecs: &'static [&'static str],
}

/// The catalogue entry of a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo {
    /// The platform.
    pub platform: Platform,
    /// Its name for people.
    pub display_name: &'static str,
    /// Who shares an ingest address.
    pub kind: PlatformKind,
    /// Its known ingest addresses, the best first.
    pub urls: &'static [&'static str],
    /// The domains of its ingest hosts; empty if unknown.
    pub hosts: &'static [&'static str],
    /// Whether its ingest is encrypted.
    pub tls: PlatformTls,
    /// Whether it may accept SRT: it does, or nothing is known.
    pub may_accept_srt: bool,
    /// Its limits.
    pub limits: PlatformLimits,
    /// A hint for people who set up a destination; may be empty.
    pub note: &'static str,
}

impl Platform {
    /// Its entry in the catalogue.
    pub fn info(self) -> &'static PlatformInfo {
        &CATALOGUE[self as usize]
    }
}

/// All platforms, in the order of [`Platform`].
static CATALOGUE: [PlatformInfo; 28] = {
    use Platform::*;

    [
        entry(Custom, "Custom", PerAccount, Unknown)
            .note("Needs the address of an RTMP, RTMPS or SRT server."),
        entry(Youtube, "YouTube Live", Static, Offered)
            .codecs(&["h264", "hevc", "av1"], &[])
            .hosts(&["youtube.com"])
            .without_srt()
            .urls(&[
                "rtmps://a.rtmps.youtube.com:443/live2",
                "rtmps://b.rtmps.youtube.com:443/live2?backup=1",
                "rtmp://a.rtmp.youtube.com/live2",
                "rtmp://b.rtmp.youtube.com/live2?backup=1",
            ])
            .limits(2, 51_000, 160),
        entry(Twitch, "Twitch", Static, Offered)
            .codecs(&["h264"], &[])
            .hosts(&["twitch.tv", "live-video.net"])
            .without_srt()
            .urls(&[
                "rtmps://ingest.global-contribute.live-video.net:443/app",
                "rtmp://live.twitch.tv/app",
            ])
            .limits(2, 6_000, 320)
            .note("https://ingest.twitch.tv/ingests lists the servers of each region."),
        entry(Facebook, "Facebook Live", Static, Required)
            .codecs(&["h264"], &[])
            .hosts(&["facebook.com", "fbcdn.net"])
            .without_srt()
            .urls(&["rtmps://rtmp-api.facebook.com:443/rtmp/"])
            .limits(2, 9_000, 128)
            .note("The stream key is made for one broadcast: copy it anew each time."),
        entry(X, "X", Regional, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["pscp.tv"])
            .without_srt()
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
        entry(Kick, "Kick", PerAccount, Required)
            .hosts(&["live-video.net"])
            .note("Copy the address from the dashboard: it must include /app."),
        entry(AmazonIvs, "Amazon IVS", PerAccount, Offered)
            .codecs(&["h264"], &[])
            .hosts(&["live-video.net"])
            .limits(2, 0, 0)
            .note("Copy the channel's address from the dashboard: it must include /app."),
        entry(Linkedin, "LinkedIn Live", PerEvent, Offered)
            .note("Copy the address and the key from the event's dashboard each time."),
        entry(Tiktok, "TikTok LIVE", PerEvent, Unknown)
            .note("Copy the address and the key from the LIVE dashboard each time."),
        entry(Instagram, "Instagram Live", PerEvent, Unknown)
            .note("Copy the address and the key from the Live Producer dashboard each time."),
        entry(Rumble, "Rumble", PerEvent, Unknown)
            .note("Copy the address and the key from the stream's dashboard each time."),
        entry(Trovo, "Trovo", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["trovo.live"])
            .urls(&["rtmp://livepush.trovo.live/live/"])
            .limits(2, 9_000, 160),
        entry(Restream, "Restream", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["restream.io"])
            .urls(&["rtmp://live.restream.io/live"])
            .limits(2, 0, 0),
        entry(Mux, "Mux", Static, Offered)
            .codecs(&["h264"], &[])
            .hosts(&["mux.com"])
            .urls(&[
                "rtmps://global-live.mux.com:443/app",
                "rtmp://global-live.mux.com:5222/app",
            ])
            .limits(2, 5_000, 160),
        entry(Cloudflare, "Cloudflare Stream", Static, Required)
            .hosts(&["cloudflare.com"])
            .urls(&["rtmps://live.cloudflare.com:443/live/"]),
        entry(Livepeer, "Livepeer", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["livepeer.com", "livepeer.studio"])
            .urls(&["rtmp://rtmp.livepeer.com/live"])
            .limits(1, 20_000, 512),
        entry(Castr, "Castr", Regional, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["castr.io"])
            .limits(2, 0, 0)
            .note("Copy the address of the region from the dashboard."),
        entry(Switchboard, "Switchboard Live", Static, Required)
            .codecs(&["h264"], &[])
            .hosts(&["sb.zone", "switchboard.live"])
            .urls(&["rtmps://live.sb.zone:443/live"])
            .limits(2, 0, 0),
        entry(Steam, "Steam", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["steamcontent.com"])
            .urls(&["rtmp://ingest-rtmp.broadcast.steamcontent.com/app"])
            .limits(2, 7_000, 128),
        entry(Dlive, "DLive", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["dlive.tv"])
            .urls(&["rtmp://stream.dlive.tv/live"])
            .limits(2, 6_000, 160),
        entry(Nimo, "Nimo TV", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["nimo.tv"])
            .urls(&[
                "rtmp://txpush.rtmp.nimo.tv/live/",
                "rtmp://alpush.rtmp.nimo.tv/live/",
            ])
            .limits(2, 6_000, 160),
        entry(Picarto, "Picarto", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["picarto.tv"])
            .urls(&["rtmp://live.us.picarto.tv/golive"])
            .limits(2, 3_500, 0),
        entry(Bilibili, "Bilibili", Static, PlatformTls::None)
            .codecs(&["h264", "hevc"], &[])
            .hosts(&["bilivideo.com", "bilibili.com"])
            .urls(&["rtmp://live-push.bilivideo.com/live-bvc/"])
            .note("The stream key contains ? and &: copy all of it."),
        entry(Chzzk, "CHZZK", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["navercorp.com", "naver.com"])
            .urls(&["rtmp://global-rtmp.lip2.navercorp.com:8080/relay"])
            .limits(1, 8_000, 192),
        entry(Soop, "SOOP", Static, PlatformTls::None)
            .codecs(&["h264"], &["aac"])
            .hosts(&["sooplive.com", "sooplive.co.kr", "afreecatv.com"])
            .urls(&[
                "rtmp://global-stream.sooplive.com/app",
                "rtmp://stream.sooplive.co.kr/app/",
            ])
            .limits(1, 8_000, 192)
            .note("The first address is SOOP Global, the second SOOP Korea."),
        entry(Niconico, "niconico", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["nicovideo.jp"])
            .urls(&["rtmp://liveorigin.dlive.nicovideo.jp/live/input"])
            .limits(2, 5_808, 192),
        entry(Kakaotv, "KakaoTV", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["kakao.com"])
            .urls(&["rtmp://rtmp.play.kakao.com/kakaotv"])
            .limits(0, 8_000, 192),
        entry(Vimeo, "Vimeo", Static, PlatformTls::None)
            .codecs(&["h264"], &[])
            .hosts(&["vimeo.com"])
            .urls(&["rtmp://rtmp.cloud.vimeo.com/live"]),
    ]
};

const fn entry(
    platform: Platform,
    display_name: &'static str,
    kind: PlatformKind,
    tls: PlatformTls,
) -> PlatformInfo {
    PlatformInfo {
        platform,
        display_name,
        kind,
        urls: &[],
        hosts: &[],
        tls,
        may_accept_srt: true,
        limits: PlatformLimits {
            keyframe_interval_seconds: 0,
            max_video_bitrate_kbps: 0,
            max_audio_bitrate_kbps: 0,
            video_codecs: &[],
            audio_codecs: &[],
        },
        note: "",
    }
}

impl PlatformInfo {
    const fn urls(self, urls: &'static [&'static str]) -> Self {
        Self { urls, ..self }
    }

    const fn hosts(self, hosts: &'static [&'static str]) -> Self {
        Self { hosts, ..self }
    }

    const fn without_srt(self) -> Self {
        Self {
            may_accept_srt: false,
            ..self
        }
    }

    const fn limits(self, keyframe_interval: u32, video_kbps: u32, audio_kbps: u32) -> Self {
        let limits = PlatformLimits {
            keyframe_interval_seconds: keyframe_interval,
            max_video_bitrate_kbps: video_kbps,
            max_audio_bitrate_kbps: audio_kbps,
            ..self.limits
        };
        Self { limits, ..self }
    }

    const fn codecs(
        self,
        video_codecs: &'static [&'static str],
        audio_codecs: &'static [&'static str],
    ) -> Self {
        let limits = PlatformLimits {
            video_codecs,
            audio_codecs,
            ..self.limits
        };
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
                PlatformTls::Required => assert!(info.urls.iter().all(encrypted), "{info:?}"),
                PlatformTls::None => assert!(!info.urls.iter().any(encrypted), "{info:?}"),
                PlatformTls::Unknown | PlatformTls::Offered => {}
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
