use serde::{Deserialize, Serialize};

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

impl Platform {
    /// The name in the database.
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
}
