use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::given::{Answer, custom, destination, destination_now, project_now, update_of, youtube};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

async fn create(
    user: &User,
    request: pb::CreateDestinationRequest,
) -> Answer<pb::CreateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.create_destination(request).await
}

#[rstest]
#[tokio::test]
async fn a_project_has_as_many_destinations_as_it_may_and_no_more(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--max-destinations=2"]).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let (other, _) = user.project().await;
    let first = destination(&user, youtube(&project)).await;
    destination(&user, youtube(&project)).await;

    let refusal = refused(create(&user, youtube(&project)).await);

    let full = (Code::FailedPrecondition, "DESTINATION_LIMIT_REACHED");
    assert_eq!(refusal.class(), full);
    destination(&user, youtube(&other)).await;
    let request = pb::DeleteDestinationRequest {
        destination_id: first.id,
    };
    let mut projects = user.client.project.clone();
    projects.delete_destination(request).await.unwrap();
    destination(&user, youtube(&project)).await;
}

#[rstest]
#[tokio::test]
async fn a_destination_without_url_gets_the_platforms_own(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    let made = destination(&user, youtube(&project)).await;

    let expected = pb::Destination {
        id: made.id.clone(),
        project_id: project.id.clone(),
        platform: pb::Platform::Youtube.into(),
        name: "Main channel".to_owned(),
        url: "rtmps://a.rtmps.youtube.com:443/live2".to_owned(),
        stream_key_hint: "qrst".to_owned(),
        enabled: true,
        create_time: made.create_time,
        update_time: made.create_time,
    };
    assert_eq!(made, expected);
    assert!(made.create_time.is_some());
    assert_eq!(destination_now(&user, &made).await, made);
    let revision = project_now(&user, &project).await.revision;
    assert_eq!(revision, project.revision + 1);
}

#[rstest]
#[tokio::test]
async fn a_destination_is_created_as_asked_for(#[values(Sqlite, Postgres)] engine: Engine) {
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
            name: "select ☃ update".to_owned(),
            enabled: Some(false),
            ..custom(&project, url)
        };

        let made = destination(&user, request).await;

        assert_eq!(made.platform(), pb::Platform::Custom);
        assert_eq!(made.name, "select ☃ update");
        assert_eq!(made.url, url);
        assert!(!made.enabled);
        assert_eq!(destination_now(&user, &made).await, made);
    }
}

#[rstest]
#[tokio::test]
async fn url_may_be_left_out_where_the_platform_is_static_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let platforms = user
        .client
        .project
        .list_platforms(pb::ListPlatformsRequest {})
        .await;
    let platforms = platforms.unwrap().into_inner().platforms;

    for info in platforms {
        let request = pb::CreateDestinationRequest {
            platform: info.platform,
            ..youtube(&project)
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

#[rstest]
#[tokio::test]
async fn all_invalid_fields_are_named_at_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    for platform in [pb::Platform::Unspecified.into(), 29, -1] {
        let request = pb::CreateDestinationRequest {
            project_id: "1".to_owned(),
            platform,
            name: String::new(),
            url: "http://127.0.0.1/".to_owned(),
            stream_key: "two words".to_owned(),
            enabled: None,
            request_id: "1".to_owned(),
        };
        assert_eq!(
            refused(create(&user, request).await).fields(),
            [
                "name",
                "platform",
                "project_id",
                "request_id",
                "stream_key",
                "url"
            ]
        );
    }
    let of_custom = pb::CreateDestinationRequest {
        stream_key: "two words".to_owned(),
        ..custom(&pb::Project::default(), "")
    };
    assert_eq!(
        refused(create(&user, of_custom).await).fields(),
        ["project_id", "stream_key", "url"]
    );
    let empty = pb::CreateDestinationRequest::default();
    assert_eq!(
        refused(create(&user, empty).await).fields(),
        ["name", "platform", "project_id"]
    );
}

#[rstest]
#[tokio::test]
async fn each_invalid_value_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let named = |name: &str| pb::CreateDestinationRequest {
        name: name.to_owned(),
        ..youtube(&project)
    };
    let with_key = |key: &str| pb::CreateDestinationRequest {
        stream_key: key.to_owned(),
        ..youtube(&project)
    };
    let with_platform = |platform| pb::CreateDestinationRequest {
        platform,
        ..custom(&project, "rtmp://live.example.com/app")
    };

    for (request, field) in [
        (named(" "), "name"),
        (named("two\nlines"), "name"),
        (named(&"x".repeat(101)), "name"),
        (with_platform(0), "platform"),
        (with_platform(29), "platform"),
        (with_key(""), "stream_key"),
        (with_key("two words"), "stream_key"),
        (with_key("nul\0"), "stream_key"),
        (with_key(&"é".repeat(513)), "stream_key"),
        (custom(&project, ""), "url"),
        (custom(&project, " "), "url"),
    ] {
        let case = format!("{request:?}");
        let refusal = refused(create(&user, request).await);
        assert_eq!(refusal.fields(), [field], "{case:.200}");
    }
    assert_eq!(project_now(&user, &project).await, project);
}

#[rstest]
#[tokio::test]
async fn only_srt_goes_without_a_key(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let keyless = |url| pb::CreateDestinationRequest {
        stream_key: String::new(),
        ..custom(&project, url)
    };

    let made = destination(&user, keyless("srt://live.example.com:9000")).await;
    let refusal = refused(create(&user, keyless("rtmps://live.example.com/app")).await);

    assert_eq!(made.stream_key_hint, "");
    assert_eq!(refusal.fields(), ["stream_key"]);
}

#[rstest]
#[tokio::test]
async fn a_hint_is_shown_of_keys_of_twelve_characters_and_more(
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
            ..youtube(&project)
        };
        let made = destination(&user, request).await;
        assert_eq!(made.stream_key_hint, hint, "{stream_key}");
    }
}

#[rstest]
#[tokio::test]
async fn a_key_with_question_mark_and_ampersand_is_kept_whole(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let request = pb::CreateDestinationRequest {
        stream_key: "FB-1?s=1&a=x".to_owned(),
        ..custom(&project, "rtmp://live.example.com/app")
    };
    let made = destination(&user, request).await;
    assert_eq!(made.stream_key_hint, "&a=x");

    // No answer shows the key, but an address that has all of it is refused.
    for (url, has_key) in [
        ("rtmp://live.example.com/app/FB-1?s=1&a=", false),
        ("rtmp://live.example.com/app/B-1?s=1&a=x", false),
        ("rtmp://live.example.com/appFB-1?s=1&a=x", true),
    ] {
        let request = pb::UpdateDestinationRequest {
            url: Some(url.to_owned()),
            ..update_of(&made)
        };
        let answer = user.client.project.update_destination(request).await;
        assert_eq!(answer.is_err(), has_key, "{url}");
    }
}

/// Predecessor's defect G16: every read showed the keys of destinations.
#[rstest]
#[tokio::test]
async fn no_answer_shows_the_key(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let mut projects = user.client.project.clone();
    let (project, _) = user.project().await;

    let created = create(&user, youtube(&project)).await.unwrap();
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
        ..update_of(&made)
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
