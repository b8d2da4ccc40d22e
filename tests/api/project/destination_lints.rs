//! What is unwise about a destination, and what cannot work for its platform.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{
    RpcResult, create_destination, custom_destination, get_destination, update_request,
    youtube_destination,
};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer, User, refused};
use pb::DestinationLintCode::{
    DuplicateDestination, KeyIsPlaceholder, KeyIsUrl, KeyOfAnotherPlatform, PlainRtmp,
    PlatformRecognized, UnknownHost, UnusedSrtOptions, UrlOutdated,
};

const YOUTUBE: &str = "rtmps://a.rtmps.youtube.com:443/live2";
const YOUTUBE_PLAIN: &str = "rtmp://a.rtmp.youtube.com/live2";

async fn create(
    user: &User,
    request: pb::CreateDestinationRequest,
) -> RpcResult<pb::CreateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.create_destination(request).await
}

async fn update(
    user: &User,
    request: pb::UpdateDestinationRequest,
) -> RpcResult<pb::UpdateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.update_destination(request).await
}

/// The codes of lints, which all name a field and have a message.
fn codes(lints: &[pb::DestinationLint]) -> Vec<pb::DestinationLintCode> {
    for lint in lints {
        assert!(
            ["url", "stream_key", "platform"].contains(&&*lint.field),
            "{lint:?}"
        );
        assert!(!lint.message.is_empty(), "{lint:?}");
    }
    lints.iter().map(pb::DestinationLint::code).collect()
}

fn of_platform(
    project: &pb::Project,
    platform: pb::Platform,
    url: &str,
) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        platform: platform.into(),
        ..custom_destination(project, url)
    }
}

#[tokio::test]
async fn an_address_that_cannot_work_for_its_platform_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    use pb::Platform::{Facebook, Kick, Tiktok, Twitch, Youtube};

    for (platform, url) in [
        (Facebook, "rtmp://live-api-s.facebook.com:80/rtmp/"),
        (Facebook, "srt://live-api-s.facebook.com:9000"),
        (
            Kick,
            "rtmp://fa723fc1b171.global-contribute.live-video.net/app",
        ),
        (Youtube, "rtmp://evil.example.com/live2"),
        (Youtube, "rtmps://youtube.com.evil.example.com/live2"),
        (Youtube, "rtmps://8.8.8.8/live2"),
        (Twitch, YOUTUBE),
        (Tiktok, YOUTUBE),
        (Youtube, "rtmps://live.restream.io/live"),
    ] {
        let refusal = refused(create(&user, of_platform(&project, platform, url)).await);
        assert_eq!(refusal.fields(), ["url"], "{platform:?} {url}");
    }

    let made = create_destination(&user, youtube_destination(&project)).await;
    for (platform, url) in [
        (Youtube, "rtmp://evil.example.com/live2"),
        (Facebook, YOUTUBE),
    ] {
        let request = pb::UpdateDestinationRequest {
            platform: Some(platform.into()),
            url: Some(url.to_owned()),
            stream_key: Some("another-key".to_owned()),
            ..update_request(&made)
        };
        let refusal = refused(update(&user, request).await);
        assert_eq!(refusal.fields(), ["url"], "{platform:?} {url}");
    }
    assert_eq!(get_destination(&user, &made).await, made);
}

#[tokio::test]
async fn an_unwise_address_is_saved_and_comes_with_lints() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    use pb::Platform::{Custom, Kick, Twitch, X, Youtube};

    let cases: [(pb::Platform, &str, &[pb::DestinationLintCode]); 10] = [
        (Youtube, "", &[]),
        (Youtube, YOUTUBE_PLAIN, &[PlainRtmp]),
        (Twitch, "", &[]),
        (Twitch, "rtmp://live-fra.twitch.tv/app", &[PlainRtmp]),
        (X, "rtmp://va.pscp.tv:80/x", &[]),
        (Kick, "rtmps://ingest.example.com/app", &[UnknownHost]),
        (Custom, "rtmp://live.example.com/app", &[]),
        (Custom, YOUTUBE_PLAIN, &[PlainRtmp, PlatformRecognized]),
        (Custom, "srt://live.example.com:9000?latency=20", &[]),
        (
            Custom,
            "srt://live.example.com:9000?transtype=file",
            &[UnusedSrtOptions],
        ),
    ];
    for (platform, url, expected) in cases {
        let (project, _) = user.project().await;
        let answer = create(&user, of_platform(&project, platform, url)).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(codes(&answer.lints), expected, "{platform:?} {url}");
        let made = answer.destination.unwrap();
        assert_eq!(get_destination(&user, &made).await, made);

        let renamed = pb::UpdateDestinationRequest {
            display_name: Some("Renamed".to_owned()),
            ..update_request(&made)
        };
        let answer = update(&user, renamed).await.unwrap().into_inner();
        assert_eq!(codes(&answer.lints), expected, "{platform:?} {url}");
    }
}

#[tokio::test]
async fn an_unwise_stream_key_is_saved_and_comes_with_lints() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    for (key, expected) in [
        ("abcd-efgh-ijkl-mnop-qrst", &[][..]),
        ("a.rtmp.youtube.com/live2/abcd-efgh", &[KeyIsUrl]),
        ("live_123456789_AbCdEf", &[KeyOfAnotherPlatform]),
        ("your-stream-key", &[KeyIsPlaceholder]),
    ] {
        let request = pb::CreateDestinationRequest {
            stream_key: key.to_owned(),
            ..youtube_destination(&project)
        };
        let answer = create(&user, request).await.unwrap().into_inner();
        assert_eq!(codes(&answer.lints), expected, "{key}");
        let told = format!("{:?}", answer.lints);
        assert!(!told.contains(key), "{told}");

        // A later change without the key names it again.
        let renamed = pb::UpdateDestinationRequest {
            display_name: Some("Renamed".to_owned()),
            ..update_request(&answer.destination.unwrap())
        };
        let answer = update(&user, renamed).await.unwrap().into_inner();
        assert_eq!(codes(&answer.lints), expected, "{key}");
    }
}

#[rstest]
#[tokio::test]
async fn the_same_address_and_key_twice_in_a_project_is_a_lint(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let (other_project, _) = user.project().await;
    let request_id = uuid::Uuid::now_v7().to_string();
    let request = pb::CreateDestinationRequest {
        request_id,
        ..custom_destination(&project, "rtmp://live.example.com/app")
    };
    let lints = async |request: &pb::CreateDestinationRequest| {
        let answer = create(&user, request.clone()).await;
        answer.unwrap().into_inner().lints
    };

    assert_eq!(codes(&lints(&request).await), []);
    assert_eq!(
        codes(&lints(&request).await),
        [],
        "a repetition is no second destination"
    );
    let first = pb::ListDestinationsRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let first = user.client.project.clone().list_destinations(first).await;
    let first = first.unwrap().into_inner().destinations.remove(0);

    let same = custom_destination(&project, "rtmps://LIVE.example.com:443/app/");
    let found = lints(&same).await;
    assert_eq!(codes(&found), [DuplicateDestination]);
    assert!(found[0].message.contains(&first.id), "{found:?}");
    assert!(!found[0].message.contains(&same.stream_key), "{found:?}");
    for different in [
        custom_destination(&project, "rtmp://live.example.com/other"),
        custom_destination(&other_project, "rtmp://live.example.com/app"),
        pb::CreateDestinationRequest {
            stream_key: "another-key".to_owned(),
            ..custom_destination(&project, "rtmp://live.example.com/app")
        },
    ] {
        assert_eq!(codes(&lints(&different).await), [], "{different:?}");
    }

    let changed = pb::UpdateDestinationRequest {
        stream_key: Some("another-key".to_owned()),
        ..update_request(&first)
    };
    let answer = update(&user, changed).await.unwrap().into_inner();
    assert_eq!(codes(&answer.lints), [DuplicateDestination]);
    let changed = pb::UpdateDestinationRequest {
        stream_key: Some("a-key-of-its-own".to_owned()),
        ..update_request(&first)
    };
    let answer = update(&user, changed).await.unwrap().into_inner();
    assert_eq!(codes(&answer.lints), []);
}

#[rstest]
#[tokio::test]
async fn a_destination_from_before_a_rule_stays_readable_and_can_be_changed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    for (platform, url) in [
        ("youtube", "rtmp://evil.example.com/live2"),
        ("facebook", "rtmp://live-api-s.facebook.com:80/rtmp"),
        ("custom", "rtmp://192.88.99.1/app"),
        (
            "custom",
            "srt://live.example.com:9000?mode=listener&pbkeylen=16",
        ),
    ] {
        let (project, _) = user.project().await;
        let made = create_destination(&user, custom_destination(&project, "rtmp://a.com/b")).await;
        let id = match engine {
            Postgres | Pooled => format!("'{}'", made.id),
            Sqlite => format!("x'{}'", made.id.replace('-', "")),
        };
        let save = format!(
            "update destinations set platform = '{platform}', url = '{url}' where id = {id}"
        );
        server.database.execute(&save).await;

        assert_eq!(get_destination(&user, &made).await.url, url);
        for change in [
            pb::UpdateDestinationRequest {
                display_name: Some("Renamed".to_owned()),
                ..update_request(&made)
            },
            pb::UpdateDestinationRequest {
                stream_key: Some("another-key".to_owned()),
                ..update_request(&made)
            },
        ] {
            let answer = update(&user, change).await.unwrap().into_inner();
            assert!(codes(&answer.lints).contains(&UrlOutdated), "{url}");
            assert_eq!(answer.destination.unwrap().url, url);
        }
        let written = pb::UpdateDestinationRequest {
            url: Some(url.to_owned()),
            ..update_request(&made)
        };
        assert_eq!(
            refused(update(&user, written).await).fields(),
            ["url"],
            "{url}"
        );
    }
}
