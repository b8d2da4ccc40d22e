use sluice::proto::v1 as pb;

use crate::harness::{Sqlite, TestServer};

async fn platforms() -> Vec<pb::PlatformInfo> {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;
    let request = pb::ListPlatformsRequest {};
    let answer = user.client.project.list_platforms(request).await;
    answer.unwrap().into_inner().platforms
}

#[tokio::test]
async fn all_platforms_are_listed_in_the_order_of_the_enum() {
    let listed: Vec<_> = platforms()
        .await
        .iter()
        .map(pb::PlatformInfo::platform)
        .collect();

    let all: Vec<_> = (1..)
        .map_while(|number| pb::Platform::try_from(number).ok())
        .collect();
    assert_eq!(listed, all);
    assert!(all.contains(&pb::Platform::Vimeo));
}

#[tokio::test]
async fn every_platform_has_the_details_a_user_needs() {
    for info in platforms().await {
        assert!(!info.display_name.is_empty(), "{info:?}");
        assert_ne!(info.kind(), pb::PlatformKind::Unspecified, "{info:?}");
        assert!(info.limits.is_some(), "{info:?}");
        match info.kind() {
            pb::PlatformKind::Static => assert!(!info.urls.is_empty(), "{info:?}"),
            _ => assert!(!info.note.is_empty(), "{info:?}"),
        }
        let encrypted = |url: &String| url.starts_with("rtmps://");
        match info.tls() {
            pb::PlatformTls::Required => assert!(info.urls.iter().all(encrypted), "{info:?}"),
            pb::PlatformTls::None => assert!(!info.urls.iter().any(encrypted), "{info:?}"),
            pb::PlatformTls::Offered | pb::PlatformTls::Unspecified => {}
        }
    }
}

/// Predecessor's defect G18: addresses were listed that other sources contradict.
#[tokio::test]
async fn urls_that_other_sources_contradict_are_not_listed() {
    let listed = format!("{:?}", platforms().await);

    assert!(listed.contains("a.rtmps.youtube.com"));
    for host in [
        "stream.kick.com",
        "live.tiktok.com",
        "ingest.linkedin.com",
        "ingest.pscp.tv",
    ] {
        assert!(!listed.contains(host), "{host}");
    }
}
