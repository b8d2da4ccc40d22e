use rstest::rstest;
use sluice::proto::v1 as pb;

use super::given::{Answer, custom, destination, destination_now, update_of, youtube};
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
) -> Answer<pb::CreateDestinationResponse> {
    let mut projects = user.client.project.clone();
    projects.create_destination(custom(project, url)).await
}

async fn change(
    user: &User,
    destination: &pb::Destination,
    url: &str,
) -> Answer<pb::UpdateDestinationResponse> {
    let request = pb::UpdateDestinationRequest {
        url: Some(url.to_owned()),
        ..update_of(destination)
    };
    user.client
        .project
        .clone()
        .update_destination(request)
        .await
}

/// Refused when a destination is created and when it is changed, and then nothing changes.
async fn assert_refused(server: &TestServer, urls: impl IntoIterator<Item = String>) {
    let user = server.user().await;
    let (project, _) = user.project().await;
    let before = destination(&user, custom(&project, "rtmp://live.example.com/app")).await;

    for url in urls {
        let creation = refused(create(&user, &project, &url).await);
        assert_eq!(creation.fields(), ["url"], "{url}");
        let update = refused(change(&user, &before, &url).await);
        assert_eq!(update.fields(), ["url"], "{url}");
    }
    assert_eq!(destination_now(&user, &before).await, before);
}

async fn assert_taken(server: &TestServer, urls: impl IntoIterator<Item = String>) {
    let user = server.user().await;
    let (project, _) = user.project().await;

    for url in urls {
        let made = destination(&user, custom(&project, &url)).await;
        assert_eq!(made.url, url);
        change(&user, &made, &url).await.unwrap();
    }
}

fn owned(urls: &[&str]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

/// Predecessor's defect G16: only the beginning of an address was looked at, so that it could
/// name any host of the internal network.
#[rstest]
#[tokio::test]
async fn hosts_of_the_internal_network_are_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    let urls = PRIVATE_HOSTS.map(|host| format!("rtmp://{host}:1935/app"));
    assert_refused(&server, urls).await;
    let urls = PRIVATE_HOSTS.map(|host| format!("srt://{host}:9000"));
    assert_refused(&server, urls).await;
}

#[rstest]
#[tokio::test]
async fn hosts_in_disguise_are_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

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
async fn private_hosts_are_taken_where_they_are_allowed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--allow-private-destinations=true"];
    let server = TestServer::start_with(engine, &flags).await;

    let urls = PRIVATE_HOSTS.map(|host| format!("rtmp://{host}:1935/app"));
    assert_taken(&server, urls).await;
}

/// Predecessor's defect G16: a stream could be sent back into the system's own ingest.
#[rstest]
#[tokio::test]
async fn the_systems_own_ingest_is_refused(
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
    assert_refused(&server, owned(&own)).await;
    let others = [
        "rtmp://edge.example.com/app",
        "rtmp://eu.ingest.example.com/app",
    ];
    assert_taken(&server, owned(&others)).await;
}

#[rstest]
#[tokio::test]
async fn what_is_no_ingest_address_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

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
    assert_refused(&server, owned(&urls)).await;
}

#[rstest]
#[tokio::test]
async fn an_address_has_at_most_1024_bytes(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let of_length = |bytes| format!("{:a<bytes$}", "rtmp://live.example.com/");

    assert_taken(&server, [of_length(1024)]).await;
    assert_refused(&server, [of_length(1025)]).await;
}

#[rstest]
#[tokio::test]
async fn a_key_that_was_pasted_into_the_address_is_noticed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;

    // The key of `custom`, and one behind the address of a platform that is chosen below.
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
            ..youtube(&project)
        };
        let mut projects = user.client.project.clone();
        let refusal = refused(projects.create_destination(request).await);
        assert_eq!(refusal.fields(), ["url"], "{url}");
    }
}
