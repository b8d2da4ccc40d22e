use super::{
    Platform::{self, AmazonIvs, Facebook, Kick, Twitch, Youtube},
    Secret,
    destination_lint::{DestinationLint, LintCode, lint},
};

/// What the keys of platforms begin with, as their dashboards show them.
const PREFIXES: [(&str, &[Platform]); 3] = [
    ("live_", &[Twitch]),
    ("FB-", &[Facebook]),
    ("sk_", &[Kick, AmazonIvs]),
];

/// The platforms none of whose keys begin with the prefix of another one.
const KNOWN: [Platform; 5] = [Youtube, Twitch, Facebook, Kick, AmazonIvs];

/// Texts of guides that stand for a key, in lower case and without separators.
const PLACEHOLDERS: [&str; 8] = [
    "streamkey",
    "yourstreamkey",
    "mystreamkey",
    "yourkey",
    "yourkeyhere",
    "key",
    "changeme",
    "xxxxxxxxxxxxxxxx",
];

impl DestinationLint {
    /// The lints of a stream key. Their texts do not contain it.
    pub fn of_key(platform: Platform, key: &Secret) -> Vec<Self> {
        let key = key.expose();
        let found = [
            address(key),
            other_platform(platform, key),
            placeholder(key),
        ];
        found.into_iter().flatten().collect()
    }
}

/// An address without its scheme, which a key cannot have.
fn address(key: &str) -> Option<DestinationLint> {
    let (host, _) = key.split_once('/')?;
    let host = host.split(':').next().unwrap_or_default();
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_allowed)
    };
    let top = labels.last().copied().unwrap_or_default();
    let is_host = labels.len() > 1
        && labels.iter().all(is_label)
        && top.len() > 1
        && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let message = "the key begins like an address: enter the address in url, and only the key here";
    is_host.then(|| lint(LintCode::KeyIsUrl, "stream_key", message.to_owned()))
}

fn other_platform(platform: Platform, key: &str) -> Option<DestinationLint> {
    let (_, owners) = PREFIXES
        .iter()
        .find(|(prefix, _)| key.starts_with(prefix))?;
    let is_other = KNOWN.contains(&platform) && !owners.contains(&platform);
    let names: Vec<_> = owners
        .iter()
        .map(|owner| owner.info().display_name)
        .collect();
    let message = format!("the key looks like one of {}", names.join(" or "));
    is_other.then(|| lint(LintCode::KeyOfAnotherPlatform, "stream_key", message))
}

fn placeholder(key: &str) -> Option<DestinationLint> {
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    let message = "the key is a placeholder: copy the key from the platform";
    PLACEHOLDERS
        .contains(&plain.as_str())
        .then(|| lint(LintCode::KeyIsPlaceholder, "stream_key", message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwise_keys_are_named() {
        use LintCode::{KeyIsPlaceholder, KeyIsUrl, KeyOfAnotherPlatform};
        use Platform::Custom;
        for (platform, key, expected) in [
            (Youtube, "abcd-efgh-ijkl-mnop-qrst", &[][..]),
            (Youtube, "a.rtmp.youtube.com/live2/abcd-efgh", &[KeyIsUrl]),
            (Custom, "live.example.com:1935/app/k", &[KeyIsUrl]),
            (Custom, "abc/def==", &[]),
            (Custom, "v1.2/k3y", &[]),
            (Custom, "10.0.0.1/app", &[]),
            (Twitch, "live_123_abc", &[]),
            (Youtube, "live_123_abc", &[KeyOfAnotherPlatform]),
            (Twitch, "FB-123-0-Abc?s_bl=1", &[KeyOfAnotherPlatform]),
            (AmazonIvs, "sk_us-west-2_x", &[]),
            (Facebook, "sk_us-west-2_x", &[KeyOfAnotherPlatform]),
            (Custom, "live_123_abc", &[]),
            (Youtube, "<Your Stream Key>", &[KeyIsPlaceholder]),
            (Youtube, "xxxx-xxxx-xxxx-xxxx", &[KeyIsPlaceholder]),
            (Custom, "", &[]),
        ] {
            let lints = DestinationLint::of_key(platform, &Secret::new(key));
            let codes: Vec<_> = lints.iter().map(|lint| lint.code).collect();
            assert_eq!(codes, expected, "{platform:?} {key}");
            let tells_key = |lint: &DestinationLint| lint.message.contains(key);
            assert!(key.is_empty() || !lints.iter().any(tells_key), "{key}");
        }
    }
}
