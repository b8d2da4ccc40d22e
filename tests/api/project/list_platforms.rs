use sluice::proto::v1 as pb;

use crate::harness::{Sqlite, TestServer};

async fn platforms() -> Vec<pb::PlatformInfo> {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;
    let request = pb::ListPlatformsRequest::default();
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

#[tokio::test]
async fn every_static_platform_names_the_domains_of_its_hosts() {
    for info in platforms().await {
        let is_static = info.kind() == pb::PlatformKind::Static;
        assert!(!is_static || !info.hosts.is_empty(), "{info:?}");
        for url in &info.urls {
            let host = url
                .split("://")
                .nth(1)
                .unwrap()
                .split(['/', ':'])
                .next()
                .unwrap();
            let is_named = info.hosts.iter().any(|domain| host.ends_with(&**domain));
            assert!(is_named, "{url} {:?}", info.hosts);
        }
    }
}

#[tokio::test]
async fn the_default_of_a_platform_that_offers_rtmps_is_rtmps() {
    for info in platforms().await {
        let offers = [pb::PlatformTls::Offered, pb::PlatformTls::Required];
        if offers.contains(&info.tls())
            && let Some(url) = info.urls.first()
        {
            assert!(url.starts_with("rtmps://"), "{info:?}");
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
