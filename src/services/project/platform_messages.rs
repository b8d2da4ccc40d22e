//! Conversions of platforms between messages and the domain.

use crate::{
    domain::{Platform, PlatformInfo, PlatformKind, PlatformTls},
    proto::v1 as pb,
};

/// `read_enum` has rejected the unspecified value.
pub(super) fn domain_platform(value: pb::Platform) -> Platform {
    let platform = Platform::ALL.into_iter().find(|one| value == (*one).into());
    platform.unwrap_or(Platform::Custom)
}

impl From<Platform> for pb::Platform {
    fn from(platform: Platform) -> Self {
        match platform {
            Platform::Custom => Self::Custom,
            Platform::Youtube => Self::Youtube,
            Platform::Twitch => Self::Twitch,
            Platform::Facebook => Self::Facebook,
            Platform::X => Self::X,
            Platform::Kick => Self::Kick,
            Platform::AmazonIvs => Self::AmazonIvs,
            Platform::Linkedin => Self::Linkedin,
            Platform::Tiktok => Self::Tiktok,
            Platform::Instagram => Self::Instagram,
            Platform::Rumble => Self::Rumble,
            Platform::Trovo => Self::Trovo,
            Platform::Restream => Self::Restream,
            Platform::Mux => Self::Mux,
            Platform::Cloudflare => Self::Cloudflare,
            Platform::Livepeer => Self::Livepeer,
            Platform::Castr => Self::Castr,
            Platform::Switchboard => Self::Switchboard,
            Platform::Steam => Self::Steam,
            Platform::Dlive => Self::Dlive,
            Platform::Nimo => Self::Nimo,
            Platform::Picarto => Self::Picarto,
            Platform::Bilibili => Self::Bilibili,
            Platform::Chzzk => Self::Chzzk,
            Platform::Soop => Self::Soop,
            Platform::Niconico => Self::Niconico,
            Platform::Kakaotv => Self::Kakaotv,
            Platform::Vimeo => Self::Vimeo,
        }
    }
}

/// The catalogue of platforms.
pub(super) fn platforms() -> Vec<pb::PlatformInfo> {
    Platform::ALL
        .into_iter()
        .map(|platform| platform.info().into())
        .collect()
}

impl From<&PlatformInfo> for pb::PlatformInfo {
    fn from(info: &PlatformInfo) -> Self {
        let PlatformInfo {
            platform,
            display_name,
            kind,
            urls,
            tls,
            limits,
            note,
        } = info;
        let kind = match kind {
            PlatformKind::Static => pb::PlatformKind::Static,
            PlatformKind::Regional => pb::PlatformKind::Regional,
            PlatformKind::PerAccount => pb::PlatformKind::PerAccount,
            PlatformKind::PerEvent => pb::PlatformKind::PerEvent,
        };
        let tls = match tls {
            PlatformTls::Unknown => pb::PlatformTls::Unspecified,
            PlatformTls::Required => pb::PlatformTls::Required,
            PlatformTls::Offered => pb::PlatformTls::Offered,
            PlatformTls::None => pb::PlatformTls::None,
        };
        let limit = |number| i32::try_from(number).unwrap_or(i32::MAX);
        Self {
            platform: pb::Platform::from(*platform).into(),
            display_name: (*display_name).to_owned(),
            kind: kind.into(),
            urls: urls.iter().map(ToString::to_string).collect(),
            tls: tls.into(),
            limits: Some(pb::PlatformLimits {
                keyframe_interval_seconds: limit(limits.keyframe_interval_seconds),
                max_video_bitrate_kbps: limit(limits.max_video_bitrate_kbps),
                max_audio_bitrate_kbps: limit(limits.max_audio_bitrate_kbps),
            }),
            note: (*note).to_owned(),
        }
    }
}
