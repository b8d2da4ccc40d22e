use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixtures::{
    RpcResult, create_destination, custom_destination, get_destination, get_project,
    update_request, youtube_destination,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

async fn create(
    user: &User,
    request: pb::CreateDestinationRequest,
) -> RpcResult<pb::CreateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.create_destination(request).await
}

#[rstest]
#[tokio::test]
async fn a_project_cannot_exceed_its_destination_limit(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &["--max-destinations=2"]).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let (other, _) = user.project().await;
    let first = create_destination(&user, youtube_destination(&project)).await;
    create_destination(&user, youtube_destination(&project)).await;

    let refusal = refused(create(&user, youtube_destination(&project)).await);

    let full = (Code::FailedPrecondition, "DESTINATION_LIMIT_REACHED");
    assert_eq!(refusal.class(), full);
    create_destination(&user, youtube_destination(&other)).await;
    let request = pb::DeleteDestinationRequest {
        destination_id: first.id,
        ..Default::default()
    };
    let mut projects = user.client.project.clone();
    projects.delete_destination(request).await.unwrap();
    create_destination(&user, youtube_destination(&project)).await;
}

#[rstest]
#[tokio::test]
async fn a_destination_without_url_gets_the_url_of_its_platform(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    let made = create_destination(&user, youtube_destination(&project)).await;

    let expected = pb::Destination {
        id: made.id.clone(),
        project_id: project.id.clone(),
        platform: pb::Platform::Youtube.into(),
        display_name: "Main channel".to_owned(),
        url: "rtmps://a.rtmps.youtube.com:443/live2".to_owned(),
        stream_key_hint: "qrst".to_owned(),
        disabled: false,
        has_srt_passphrase: false,
        srt_pbkeylen: 0,
        delay: Some(prost_types::Duration::default()),
        max_video_bitrate_kbps: 0,
        max_height: 0,
        allows_second_connection: false,
        create_time: made.create_time,
        update_time: made.create_time,
        etag: made.etag.clone(),
    };
    assert_eq!(made, expected);
    assert!(made.create_time.is_some());
    assert_ne!(made.etag, "");
    assert_eq!(get_destination(&user, &made).await, made);
    let revision = get_project(&user, &project).await.revision;
    assert_eq!(revision, project.revision + 1);
}

#[rstest]
#[tokio::test]
async fn a_destination_is_created_as_requested(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    for url in [
        "rtmp://live.example.com/app",
        "rtmps://live.example.com:8443/app/instance?token=1",
        "RTMP://Live.Example.com:1936/App/",
        "rtmp://8.8.8.8/app",
        "rtmp://[2606:4700::1111]:1935/app",
        "srt://live.example.com:9000?latency=200",
    ] {
        let request = pb::CreateDestinationRequest {
            display_name: "select ☃ update".to_owned(),
            disabled: true,
            delay: Some(seconds(60)),
            max_video_bitrate_kbps: 2_500,
            max_height: 720,
            allows_second_connection: true,
            ..custom_destination(&project, url)
        };

        let made = create_destination(&user, request).await;

        assert_eq!(made.platform(), pb::Platform::Custom);
        assert_eq!(made.display_name, "select ☃ update");
        assert_eq!(made.url, url);
        assert!(made.disabled);
        assert_eq!(made.delay, Some(seconds(60)));
        assert_eq!((made.max_video_bitrate_kbps, made.max_height), (2_500, 720));
        assert!(made.allows_second_connection);
        assert_eq!(get_destination(&user, &made).await, made);
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[rstest]
#[tokio::test]
async fn the_url_may_be_omitted_only_for_static_platforms(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let platforms = user
        .client
        .project
        .list_platforms(pb::ListPlatformsRequest::default())
        .await;
    let platforms = platforms.unwrap().into_inner().platforms;

    for info in platforms {
        let request = pb::CreateDestinationRequest {
            platform: info.platform,
            ..youtube_destination(&project)
        };
        let answer = create(&user, request).await;
        if info.kind() == pb::PlatformKind::Static {
            let made = answer.unwrap().into_inner().destination.unwrap();
            assert_eq!(made.url, info.urls[0]);
            assert_eq!(made.platform, info.platform);
        } else {
            assert_eq!(refused(answer).fields(), ["url"], "{info:?}");
        }
    }
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;

    for platform in [pb::Platform::Unspecified.into(), 29, -1] {
        let request = pb::CreateDestinationRequest {
            project_id: "1".to_owned(),
            platform,
            display_name: String::new(),
            url: "http://127.0.0.1/".to_owned(),
            stream_key: "two words".to_owned(),
            disabled: false,
            request_id: "1".to_owned(),
            srt_passphrase: "short".to_owned(),
            srt_pbkeylen: 1,
            delay: Some(seconds(61)),
            max_video_bitrate_kbps: 99,
            max_height: -1,
            allows_second_connection: false,
        };
        assert_eq!(
            refused(create(&user, request).await).fields(),
            [
                "delay",
                "display_name",
                "max_height",
                "max_video_bitrate_kbps",
                "platform",
                "project_id",
                "request_id",
                "srt_passphrase",
                "srt_pbkeylen",
                "stream_key",
                "url"
            ]
        );
    }
    let of_custom = pb::CreateDestinationRequest {
        stream_key: "two words".to_owned(),
        ..custom_destination(&pb::Project::default(), "")
    };
    assert_eq!(
        refused(create(&user, of_custom).await).fields(),
        ["project_id", "stream_key", "url"]
    );
    let empty = pb::CreateDestinationRequest::default();
    assert_eq!(
        refused(create(&user, empty).await).fields(),
        ["display_name", "platform", "project_id"]
    );
}

#[tokio::test]
async fn each_invalid_value_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let named = |name: &str| pb::CreateDestinationRequest {
        display_name: name.to_owned(),
        ..youtube_destination(&project)
    };
    let with_key = |key: &str| pb::CreateDestinationRequest {
        stream_key: key.to_owned(),
        ..youtube_destination(&project)
    };
    let with_platform = |platform| pb::CreateDestinationRequest {
        platform,
        ..custom_destination(&project, "rtmp://live.example.com/app")
    };

    for (request, field) in [
        (named(" "), "display_name"),
        (named("two\nlines"), "display_name"),
        (named(&"x".repeat(101)), "display_name"),
        (with_platform(0), "platform"),
        (with_platform(29), "platform"),
        (with_key(""), "stream_key"),
        (with_key("two words"), "stream_key"),
        (with_key("nul\0"), "stream_key"),
        (with_key(&"é".repeat(513)), "stream_key"),
        (custom_destination(&project, ""), "url"),
        (custom_destination(&project, " "), "url"),
    ] {
        let case = format!("{request:?}");
        let refusal = refused(create(&user, request).await);
        assert_eq!(refusal.fields(), [field], "{case:.200}");
    }
    assert_eq!(get_project(&user, &project).await, project);
}

#[rstest]
#[tokio::test]
async fn only_srt_destinations_may_omit_the_stream_key(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let keyless = |url| pb::CreateDestinationRequest {
        stream_key: String::new(),
        ..custom_destination(&project, url)
    };

    let made = create_destination(&user, keyless("srt://live.example.com:9000")).await;
    let refusal = refused(create(&user, keyless("rtmps://live.example.com/app")).await);

    assert_eq!(made.stream_key_hint, "");
    assert_eq!(refusal.fields(), ["stream_key"]);
}

#[rstest]
#[tokio::test]
async fn a_hint_is_shown_for_keys_of_at_least_twelve_characters(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    for (stream_key, hint) in [
        ("x", ""),
        ("abcdefghijk", ""),
        ("abcdefghijkl", "ijkl"),
        ("ééééééééçñøå", "çñøå"),
        (&format!("{}1234", "é".repeat(508)), "1234"),
        ("  abcdefghijkl\n", "ijkl"),
    ] {
        let request = pb::CreateDestinationRequest {
            stream_key: stream_key.to_owned(),
            ..youtube_destination(&project)
        };
        let made = create_destination(&user, request).await;
        assert_eq!(made.stream_key_hint, hint, "{stream_key}");
    }
}

#[rstest]
#[tokio::test]
async fn a_key_with_question_mark_and_ampersand_is_stored_completely(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let request = pb::CreateDestinationRequest {
        stream_key: "FB-1?s=1&a=x".to_owned(),
        ..custom_destination(&project, "rtmp://live.example.com/app")
    };
    let made = create_destination(&user, request).await;
    assert_eq!(made.stream_key_hint, "&a=x");

    // No response shows the key, but a URL that contains it completely is refused.
    for (url, has_key) in [
        ("rtmp://live.example.com/app/FB-1?s=1&a=", false),
        ("rtmp://live.example.com/app/B-1?s=1&a=x", false),
        ("rtmp://live.example.com/appFB-1?s=1&a=x", true),
    ] {
        let request = pb::UpdateDestinationRequest {
            url: Some(url.to_owned()),
            ..update_request(&made)
        };
        let answer = user.client.project.update_destination(request).await;
        assert_eq!(answer.is_err(), has_key, "{url}");
    }
}

/// Predecessor's defect G16: every read showed the keys of destinations.
#[rstest]
#[tokio::test]
async fn no_response_contains_the_stream_key(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let mut projects = user.client.project.clone();
    let (project, _) = user.project().await;

    let created = create(&user, youtube_destination(&project)).await.unwrap();
    let made = created.get_ref().destination.clone().unwrap();
    let get = pb::GetDestinationRequest {
        destination_id: made.id.clone(),
    };
    let list = pb::ListDestinationsRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let update = pb::UpdateDestinationRequest {
        stream_key: Some("abcd-efgh-ijkl-mnop-qrsu".to_owned()),
        ..update_request(&made)
    };
    let answers = [
        format!("{created:?}"),
        format!("{:?}", projects.get_destination(get).await.unwrap()),
        format!("{:?}", projects.list_destinations(list).await.unwrap()),
        format!("{:?}", projects.update_destination(update).await.unwrap()),
    ];

    for answer in answers {
        assert!(answer.contains(&made.id), "{answer}");
        assert!(!answer.contains("abcd-efgh"), "{answer}");
    }
}
