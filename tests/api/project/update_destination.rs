use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{
    RpcResult, create_destination, custom_destination, get_destination, get_project,
    update_request, youtube_destination,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

const CUSTOM: i32 = pb::Platform::Custom as i32;
const KICK: i32 = pb::Platform::Kick as i32;
const TWITCH: i32 = pb::Platform::Twitch as i32;
const YOUTUBE: i32 = pb::Platform::Youtube as i32;

async fn update(
    user: &User,
    request: pb::UpdateDestinationRequest,
) -> RpcResult<pb::UpdateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.update_destination(request).await
}

async fn updated(user: &User, request: pb::UpdateDestinationRequest) -> pb::Destination {
    let answer = update(user, request).await.unwrap();
    answer.into_inner().destination.unwrap()
}

/// An UpdateDestination request with the fields that decide where streams are sent.
fn target_update(
    destination: &pb::Destination,
    platform: Option<i32>,
    url: Option<&str>,
    stream_key: Option<&str>,
) -> pb::UpdateDestinationRequest {
    pb::UpdateDestinationRequest {
        platform,
        url: url.map(str::to_owned),
        stream_key: stream_key.map(str::to_owned),
        ..update_request(destination)
    }
}

#[rstest]
#[tokio::test]
async fn each_field_can_be_updated_alone(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let mut before = create_destination(
        &user,
        custom_destination(&project, "rtmp://example.com/app"),
    )
    .await;

    type Change = (
        fn(&mut pb::UpdateDestinationRequest),
        fn(&mut pb::Destination),
    );
    let changes: [Change; 5] = [
        (
            |ask| ask.display_name = Some(" select 日本語 ".to_owned()),
            |then| then.display_name = "select 日本語".to_owned(),
        ),
        (
            |ask| ask.url = Some(" rtmps://example.com/other ".to_owned()),
            |then| then.url = "rtmps://example.com/other".to_owned(),
        ),
        (
            |ask| ask.stream_key = Some("a-new-stream-key".to_owned()),
            |then| then.stream_key_hint = "-key".to_owned(),
        ),
        (|ask| ask.disabled = Some(true), |then| then.disabled = true),
        (
            |ask| ask.disabled = Some(false),
            |then| then.disabled = false,
        ),
    ];
    for (ask, expect) in changes {
        let mut request = update_request(&before);
        ask(&mut request);
        let case = format!("{request:?}");
        let revision = get_project(&user, &project).await.revision;

        let after = updated(&user, request).await;

        let mut expected = pb::Destination {
            update_time: after.update_time,
            etag: after.etag.clone(),
            ..before.clone()
        };
        expect(&mut expected);
        assert_eq!(after, expected, "{case}");
        assert_ne!(after.update_time, before.update_time, "{case}");
        assert_eq!(get_destination(&user, &before).await, after, "{case}");
        let grown = get_project(&user, &project).await.revision - revision;
        assert_eq!(grown, 1, "{case}");
        before = after;
    }
}

#[rstest]
#[tokio::test]
async fn absent_fields_stay_unchanged(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let request = pb::CreateDestinationRequest {
        disabled: true,
        ..custom_destination(&project, "rtmp://example.com/app")
    };
    let before = create_destination(&user, request).await;

    let after = updated(&user, update_request(&before)).await;

    let expected = pb::Destination {
        update_time: after.update_time,
        etag: after.etag.clone(),
        ..before
    };
    assert_eq!(after, expected);
}

/// 2.5 seconds.
const DELAY: prost_types::Duration = prost_types::Duration {
    seconds: 2,
    nanos: 500_000_000,
};

#[rstest]
#[tokio::test]
async fn all_fields_can_be_updated_together(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let before = create_destination(&user, youtube_destination(&project)).await;

    let request = pb::UpdateDestinationRequest {
        destination_id: before.id.clone(),
        platform: Some(CUSTOM),
        display_name: Some("Backup".to_owned()),
        url: Some("srt://example.com:9000".to_owned()),
        stream_key: Some(String::new()),
        disabled: Some(true),
        srt_passphrase: Some("correct horse".to_owned()),
        srt_pbkeylen: Some(24),
        delay: Some(DELAY),
        max_video_bitrate_kbps: Some(6_000),
        max_height: Some(1_080),
        allows_second_connection: Some(true),
        ..Default::default()
    };
    let after = updated(&user, request).await;

    let expected = pb::Destination {
        platform: CUSTOM,
        display_name: "Backup".to_owned(),
        url: "srt://example.com:9000".to_owned(),
        stream_key_hint: String::new(),
        disabled: true,
        has_srt_passphrase: true,
        srt_pbkeylen: 24,
        delay: Some(DELAY),
        max_video_bitrate_kbps: 6_000,
        max_height: 1_080,
        allows_second_connection: true,
        update_time: after.update_time,
        etag: after.etag.clone(),
        ..before
    };
    assert_eq!(after, expected);
}

#[rstest]
#[tokio::test]
async fn a_new_platform_replaces_the_url_unless_one_is_given(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let own = "rtmp://example.com/app";
    let of_youtube = "rtmps://a.rtmps.youtube.com:443/live2";
    let of_twitch = "rtmps://ingest.global-contribute.live-video.net:443/app";
    let near = "rtmp://live-fra.twitch.tv/app";
    let of_kick = "rtmps://fa723fc1b171.global-contribute.live-video.net/app";

    for (from, platform, url, then) in [
        // Another platform that has a URL.
        (youtube_destination(&project), Some(TWITCH), None, of_twitch),
        (
            custom_destination(&project, own),
            Some(TWITCH),
            None,
            of_twitch,
        ),
        (
            custom_destination(&project, own),
            Some(TWITCH),
            Some(""),
            of_twitch,
        ),
        (
            youtube_destination(&project),
            Some(TWITCH),
            Some(near),
            near,
        ),
        // Another platform that has no URL.
        (
            youtube_destination(&project),
            Some(KICK),
            Some(of_kick),
            of_kick,
        ),
        // The same platform keeps its URL.
        (custom_destination(&project, own), Some(CUSTOM), None, own),
        (
            youtube_destination(&project),
            Some(YOUTUBE),
            None,
            of_youtube,
        ),
        // Back to the URL of the platform.
        (
            pb::CreateDestinationRequest {
                url: "rtmp://a.rtmp.youtube.com/live2".to_owned(),
                ..youtube_destination(&project)
            },
            None,
            Some(" "),
            of_youtube,
        ),
    ] {
        let before = create_destination(&user, from).await;
        let request = target_update(&before, platform, url, Some("another-stream-key"));
        let case = format!("{request:?}");

        let after = updated(&user, request).await;

        assert_eq!(
            after.platform,
            platform.unwrap_or(before.platform),
            "{case}"
        );
        assert_eq!(after.url, then, "{case}");
        assert_eq!(after.stream_key_hint, "-key", "{case}");
    }
}

/// Otherwise a caller that may update a destination could send its write-only key to another
/// server.
#[rstest]
#[tokio::test]
async fn a_new_platform_or_server_requires_the_stream_key_again(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let own = "rtmp://example.com/app";

    for (from, platform, url) in [
        (youtube_destination(&project), Some(TWITCH), None),
        (
            youtube_destination(&project),
            None,
            Some("rtmps://b.rtmps.youtube.com/live2"),
        ),
        (custom_destination(&project, own), Some(YOUTUBE), None),
        (
            custom_destination(&project, own),
            None,
            Some("rtmp://example.org/app"),
        ),
        (
            custom_destination(&project, own),
            None,
            Some("rtmp://example.com:1936/app"),
        ),
        (
            custom_destination(&project, own),
            None,
            Some("srt://example.com:1935"),
        ),
        (
            custom_destination(&project, "rtmps://example.com/app"),
            None,
            Some("rtmp://example.com/app"),
        ),
    ] {
        let before = create_destination(&user, from).await;
        let request = target_update(&before, platform, url, None);

        let refusal = refused(update(&user, request).await);

        assert_eq!(refusal.fields(), ["stream_key"]);
        assert_eq!(get_destination(&user, &before).await, before);
    }

    let before = create_destination(&user, custom_destination(&project, own)).await;
    for same in [
        "rtmp://EXAMPLE.com:1935/other",
        "rtmp://example.com/app",
        "rtmps://example.com/app",
    ] {
        updated(&user, target_update(&before, None, Some(same), None)).await;
    }
}

#[rstest]
#[tokio::test]
async fn inconsistent_combinations_of_fields_are_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let own = "rtmp://example.com/app";
    let pasted = "rtmp://example.com/app/abcd-efgh-ijkl-mnop-qrst";
    let keyless = pb::CreateDestinationRequest {
        stream_key: String::new(),
        ..custom_destination(&project, "srt://example.com:9000")
    };

    let both = &["stream_key", "url"][..];

    for (from, platform, url, stream_key, fields) in [
        // No URL: CUSTOM and KICK have none. Nor is the key of another platform reused.
        (
            youtube_destination(&project),
            Some(CUSTOM),
            None,
            None,
            both,
        ),
        (
            youtube_destination(&project),
            Some(KICK),
            Some(""),
            None,
            both,
        ),
        (
            custom_destination(&project, own),
            Some(KICK),
            None,
            None,
            both,
        ),
        (
            custom_destination(&project, own),
            None,
            Some(""),
            None,
            &["url"][..],
        ),
        // No key, which only SRT allows.
        (
            custom_destination(&project, own),
            None,
            None,
            Some(""),
            &["stream_key"][..],
        ),
        (keyless.clone(), None, Some(own), None, &["stream_key"][..]),
        (keyless, Some(TWITCH), None, None, &["stream_key"][..]),
        // The key in the URL, whichever is set first.
        (
            custom_destination(&project, own),
            None,
            Some(pasted),
            None,
            &["url"][..],
        ),
        (
            custom_destination(&project, "rtmp://example.com/app/other-key"),
            None,
            None,
            Some("other-key"),
            &["url"][..],
        ),
    ] {
        let before = create_destination(&user, from).await;
        let request = target_update(&before, platform, url, stream_key);
        let case = format!("{request:?}");

        let refusal = refused(update(&user, request).await);

        assert_eq!(refusal.fields(), fields, "{case}");
        assert_eq!(get_destination(&user, &before).await, before, "{case}");
    }
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;

    for platform in [pb::Platform::Unspecified.into(), 29, -1] {
        let request = pb::UpdateDestinationRequest {
            destination_id: "1".to_owned(),
            platform: Some(platform),
            display_name: Some(String::new()),
            url: Some("http://127.0.0.1/".to_owned()),
            stream_key: Some("two words".to_owned()),
            disabled: Some(false),
            srt_passphrase: Some("short".to_owned()),
            srt_pbkeylen: Some(1),
            delay: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            max_video_bitrate_kbps: Some(-1),
            max_height: Some(143),
            ..Default::default()
        };
        assert_eq!(
            refused(update(&user, request).await).fields(),
            [
                "delay",
                "destination_id",
                "display_name",
                "max_height",
                "max_video_bitrate_kbps",
                "platform",
                "srt_passphrase",
                "srt_pbkeylen",
                "stream_key",
                "url"
            ]
        );
    }
}

#[rstest]
#[tokio::test]
async fn an_invalid_value_is_refused_and_changes_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let before = create_destination(&user, youtube_destination(&project)).await;
    let project = get_project(&user, &project).await;
    let named = |name: &str| pb::UpdateDestinationRequest {
        display_name: Some(name.to_owned()),
        disabled: Some(true),
        ..update_request(&before)
    };
    let too_long = "x".repeat(513);

    for (request, field) in [
        (named(" "), "display_name"),
        (named("two\nlines"), "display_name"),
        (named(&"x".repeat(101)), "display_name"),
        (target_update(&before, Some(0), None, None), "platform"),
        (target_update(&before, Some(29), None, None), "platform"),
        (
            target_update(&before, None, Some("http://a.com/b"), None),
            "url",
        ),
        (
            target_update(&before, None, None, Some("two words")),
            "stream_key",
        ),
        (
            target_update(&before, None, None, Some(&too_long)),
            "stream_key",
        ),
        (target_update(&before, None, None, Some("")), "stream_key"),
    ] {
        let case = format!("{request:?}");
        let refusal = refused(update(&user, request).await);
        assert_eq!(refusal.fields(), [field], "{case}");
    }
    assert_eq!(get_destination(&user, &before).await, before);
    assert_eq!(get_project(&user, &project).await, project);
}
