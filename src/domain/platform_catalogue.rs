//! What is known of each platform, in the order of [`Platform`].

use super::platform::{
    Limits, Platform, PlatformInfo,
    PlatformKind::{self, PerAccount, PerEvent, Regional, Static},
    Tls,
};

pub(super) static CATALOGUE: [PlatformInfo; 28] = {
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
