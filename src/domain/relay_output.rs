use super::Secret;

/// The output address of a relay: its destination's address with the stream key, as ffmpeg takes it.
///
/// The key is opaque and is appended unchanged.
pub fn relay_output_url(address: &str, stream_key: &Secret) -> Secret {
    let key = stream_key.expose();
    let (address, joint) = match address.get(..6) {
        Some(scheme) if scheme.eq_ignore_ascii_case("srt://") => match address.contains('?') {
            _ if key.is_empty() => (address, ""),
            true => (address.trim_end_matches('&'), "&streamid="),
            false => (address.trim_end_matches('/'), "?streamid="),
        },
        // Even with a query, the application ends at the last slash.
        _ => (address.trim_end_matches('/'), "/"),
    };
    Secret::new(format!("{address}{joint}{key}"))
}

#[cfg(test)]
mod tests {
    use super::relay_output_url;
    use crate::domain::Secret;

    #[test]
    fn the_key_is_appended_for_each_protocol() {
        for (address, key, joined) in [
            (
                "rtmp://a.com/live2",
                "abcd-efgh",
                "rtmp://a.com/live2/abcd-efgh",
            ),
            ("rtmp://a.com/app/", "k", "rtmp://a.com/app/k"),
            ("RTMP://a.com/app//", "k", "RTMP://a.com/app/k"),
            (
                "rtmps://a.com:443/rtmp/",
                "FB-1?s_bl=1&a=Ab%2f+",
                "rtmps://a.com:443/rtmp/FB-1?s_bl=1&a=Ab%2f+",
            ),
            (
                "rtmp://b.com/live2?backup=1",
                "k",
                "rtmp://b.com/live2?backup=1/k",
            ),
            ("rtmp://a.com/app", "?token=x", "rtmp://a.com/app/?token=x"),
            ("rtmp://a.com/app", "a/b", "rtmp://a.com/app/a/b"),
            ("srt://a.com:9000", "", "srt://a.com:9000"),
            (
                "srt://a.com:9000?latency=20",
                "",
                "srt://a.com:9000?latency=20",
            ),
            (
                "srt://a.com:9000",
                "publish:k",
                "srt://a.com:9000?streamid=publish:k",
            ),
            ("srt://a.com:9000/", "k", "srt://a.com:9000?streamid=k"),
            (
                "SRT://a.com:9000?latency=20",
                "#!::r=k,m=publish",
                "SRT://a.com:9000?latency=20&streamid=#!::r=k,m=publish",
            ),
        ] {
            let url = relay_output_url(address, &Secret::new(key));
            assert_eq!(url.expose(), joined);
        }
    }
}
