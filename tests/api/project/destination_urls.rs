use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{
    RpcResult, create_destination, custom_destination, get_destination, update_request,
    youtube_destination,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

const PRIVATE_HOSTS: [&str; 18] = [
    "localhost",
    "LOCALHOST.",
    "db.localhost",
    "postgres",
    "nas.local",
    "metadata.google.internal",
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[fd00::1]",
    "[fe80::1]",
];

async fn create(
    user: &User,
    project: &pb::Project,
    url: &str,
) -> RpcResult<pb::CreateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects
        .create_destination(custom_destination(project, url))
        .await
}

async fn change(
    user: &User,
    destination: &pb::Destination,
    url: &str,
) -> RpcResult<pb::UpdateDestinationResponse> {
    let request = pb::UpdateDestinationRequest {
        url: Some(url.to_owned()),
        ..update_request(destination)
    };
    user.client
        .project
        .clone()
        .update_destination(request)
        .await
}

/// Checks that the URLs are refused in creates and updates, and that nothing changes.
async fn assert_refused(server: &TestServer, urls: impl IntoIterator<Item = String>) {
    let user = server.user().await;
    let (project, _) = user.project().await;
    let before = create_destination(
        &user,
        custom_destination(&project, "rtmp://live.example.com/app"),
    )
    .await;

    for url in urls {
        let creation = refused(create(&user, &project, &url).await);
        assert_eq!(creation.fields(), ["url"], "{url}");
        let update = refused(change(&user, &before, &url).await);
        assert_eq!(update.fields(), ["url"], "{url}");
    }
    assert_eq!(get_destination(&user, &before).await, before);
}

async fn assert_accepted(server: &TestServer, urls: impl IntoIterator<Item = String>) {
    let user = server.user().await;
    let (project, _) = user.project().await;

    for url in urls {
        let made = create_destination(&user, custom_destination(&project, &url)).await;
        assert_eq!(made.url, url);
        change(&user, &made, &url).await.unwrap();
    }
}

fn strings(urls: &[&str]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

/// Predecessor's defect G16: only the start of a URL was checked, so that it could name any host
/// of the internal network.
#[tokio::test]
async fn hosts_of_the_internal_network_are_refused() {
    let server = TestServer::start(Sqlite).await;

    let urls = PRIVATE_HOSTS.map(|host| format!("rtmp://{host}:1935/app"));
    assert_refused(&server, urls).await;
    let urls = PRIVATE_HOSTS.map(|host| format!("srt://{host}:9000"));
    assert_refused(&server, urls).await;
}

/// One address of each network of IANA's special-purpose registries, and Azure's metadata.
#[tokio::test]
async fn hosts_of_special_purpose_networks_are_refused() {
    let server = TestServer::start(Sqlite).await;

    let hosts = "0.0.0.1 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 169.254.169.254 172.31.0.1
        168.63.129.16 192.0.0.9 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1
        192.168.0.1 192.175.48.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1
        255.255.255.255 [::] [::1] [::ffff:10.0.0.1] [::ffff:168.63.129.16] [64:ff9b::a00:1]
        [64:ff9b::a83f:8110] [64:ff9b:1::808:808] [100::1] [100:0:0:1::1] [2001::1] [2001:1::1]
        [2001:2::1] [2001:3::1] [2001:4:112::1] [2001:10::1] [2001:20::1] [2001:30::1]
        [2001:db8::1] [2002:a00:1::] [2002:a83f:8110::1] [2620:4f:8000::1] [3fff::1] [5f00::1]
        [fc00::1] [fd00:ec2::254] [fe80::1] [fec0::1] [ff02::1] [ff0e::1]";
    let urls = hosts
        .split_whitespace()
        .map(|host| format!("rtmp://{host}/app"));
    assert_refused(&server, urls).await;
}

#[tokio::test]
async fn obfuscated_internal_hosts_are_refused() {
    let server = TestServer::start(Sqlite).await;

    let hosts = [
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "%6c%6f%63alhost",
        "１２７.0.0.1",
    ];
    assert_refused(&server, hosts.map(|host| format!("rtmp://{host}/app"))).await;
}

#[rstest]
#[tokio::test]
async fn private_hosts_are_accepted_when_the_settings_allow_them(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--allow-private-destinations=true"];
    let server = TestServer::start_with(engine, &flags).await;

    let urls = PRIVATE_HOSTS.map(|host| format!("rtmp://{host}:1935/app"));
    assert_accepted(&server, urls).await;
}

/// Predecessor's defect G16: a stream could be sent back into the system's own ingest.
#[rstest]
#[tokio::test]
async fn the_systems_own_ingest_hosts_are_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values("true", "false")] allow_private: &str,
) {
    let allow_private = format!("--allow-private-destinations={allow_private}");
    let hosts = "--ingest-hosts=ingest.example.com,edge.example.com:1936,198.20.0.1";
    let server = TestServer::start_with(engine, &[&allow_private, hosts]).await;

    let own = [
        "rtmp://ingest.example.com/app",
        "rtmps://INGEST.example.com.:8443/app",
        "srt://ingest.example.com:9000",
        "rtmp://edge.example.com:1936/app",
        "rtmp://198.20.0.1/app",
        "rtmp://[::ffff:198.20.0.1]/app",
    ];
    assert_refused(&server, strings(&own)).await;
    let others = [
        "rtmp://edge.example.com/app",
        "rtmp://eu.ingest.example.com/app",
    ];
    assert_accepted(&server, strings(&others)).await;
}

#[tokio::test]
async fn urls_that_are_no_ingest_urls_are_refused() {
    let server = TestServer::start(Sqlite).await;

    let urls = [
        "http://live.example.com/app",
        "https://live.example.com/app",
        "file:///etc/passwd",
        "live.example.com/app",
        "rtmp:live.example.com/app",
        "rtmp://",
        "rtmp:///app",
        "rtmp://live.example.com",
        "rtmp://live.example.com:0/app",
        "rtmp://live.example.com:65536/app",
        "rtmp://user:password@live.example.com/app",
        "rtmp://live.example.com/app#fragment",
        "rtmp://live.example.com/app -f flv /tmp/x",
        "rtmp://live.example.com/\u{0}",
        "srt://live.example.com",
        "srt://live.example.com:9000?streamid=secret",
        "srt://live.example.com:9000?passphrase=secret",
    ];
    assert_refused(&server, strings(&urls)).await;
}

#[rstest]
#[tokio::test]
async fn a_url_has_at_most_1024_bytes(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let of_length = |bytes| format!("{:a<bytes$}", "rtmp://live.example.com/");

    assert_accepted(&server, [of_length(1024)]).await;
    assert_refused(&server, [of_length(1025)]).await;
}

#[rstest]
#[tokio::test]
async fn a_stream_key_pasted_into_the_url_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    // The key of `custom_destination`; below, keys appended to the URL of a platform.
    let key = "abcd-efgh-ijkl-mnop-qrst";
    let urls = [
        format!("rtmp://live.example.com/app/{key}"),
        format!("rtmp://live.example.com/app?key={key}"),
    ];
    assert_refused(&server, urls).await;

    let user = server.user().await;
    let (project, _) = user.project().await;
    for url in [
        "rtmps://a.rtmps.youtube.com/live2/another-key-of-youtube",
        "rtmp://a.rtmp.youtube.com:1935/live2/x?backup=1",
    ] {
        let request = pb::CreateDestinationRequest {
            url: url.to_owned(),
            ..youtube_destination(&project)
        };
        let mut projects = user.client.project.clone();
        let refusal = refused(projects.create_destination(request).await);
        assert_eq!(refusal.fields(), ["url"], "{url}");
    }
}
