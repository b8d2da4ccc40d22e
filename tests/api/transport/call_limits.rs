use std::time::Duration;

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::time::timeout;
use tonic::{Code, Request, Response};

use super::{
    http2_connection::Http2Connection,
    http2_frames::{SETTINGS, client_preface},
};
use crate::{
    harness::{RawConnection, Sqlite, TestServer, Watcher, refused},
    stream::{changes::rename, fixture::Fixture},
};

const GET_JWKS: &str = "sluice.v1.AuthService/GetJwks";

/// The id of SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];

#[tokio::test]
async fn a_call_above_the_limit_of_its_connection_is_refused_at_once_with_the_reason() {
    let flags = ["--max-connection-calls=4", "--max-user-watches=3"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = RawConnection::to(server.address).await;
    let request = pb::GetJwksRequest {};
    let mut unfinished = Vec::new();
    for _ in 0..4 {
        unfinished.push(raw.begin(GET_JWKS, &[]).await);
    }

    for _ in 0..10 {
        let call = raw.call(GET_JWKS, &[], &request);
        let status = timeout(Duration::from_secs(20), call).await.unwrap();
        let refusal = refused(Err::<Response<()>, _>(status));
        let class = (Code::ResourceExhausted, "TOO_MANY_CONNECTION_CALLS");
        assert_eq!(refusal.class(), class);
    }

    let one = unfinished.pop().unwrap();
    assert_eq!(one.finish(&request).await.code(), Code::Ok);
    let again = raw.call(GET_JWKS, &[], &request).await;
    assert_eq!(again.code(), Code::Ok);
}

/// A proxy opens another connection at the announced maximum. Other clients would wait
/// silently.
#[rstest]
#[case::a_client("--trusted-proxies=192.0.2.1", 8)]
#[case::a_proxy("--trusted-proxies=127.0.0.1", 4)]
#[tokio::test]
async fn http2_announces_the_limit_to_proxies_and_twice_as_much_to_others(
    #[case] proxies: &str,
    #[case] announced: u32,
) {
    let flags = ["--max-connection-calls=4", "--max-user-watches=3", proxies];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = Http2Connection::connect(server.address).await;

    raw.send(&client_preface()).await.unwrap();
    let settings = raw.next_of_kind(SETTINGS).await.payload;

    let setting = settings
        .chunks(6)
        .find(|one| one[..2] == MAX_CONCURRENT_STREAMS);
    let value = setting.unwrap()[2..].try_into().unwrap();
    assert_eq!(u32::from_be_bytes(value), announced);
}

/// With the default settings.
#[tokio::test]
async fn the_watch_above_the_limit_of_a_user_is_refused_on_a_connection_with_all_others() {
    let fixture = Fixture::start(Sqlite).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let mut watchers = Vec::new();
    for _ in 0..200 {
        watchers.push(Watcher::start(owner, id).await);
    }

    let above = Watcher::resume(owner, id, 0);
    let above = timeout(Duration::from_secs(20), above).await.unwrap();

    let refusal = refused(above.map(|_| Response::new(())));
    let class = (Code::ResourceExhausted, "TOO_MANY_WATCHES");
    assert_eq!(refusal.class(), class);
    // The connection carries other calls, too.
    let revision = rename(owner, id, "Renamed").await;
    for watcher in &mut watchers {
        while watcher.revision < revision {
            watcher.next().await;
        }
    }
}

#[tokio::test]
async fn too_much_metadata_is_refused_with_the_reason_and_other_calls_go_on() {
    let fixture = Fixture::start(Sqlite).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;
    let call = async |size: usize| {
        let mut request = Request::new(pb::GetJwksRequest {});
        let value = "a".repeat(size).parse().unwrap();
        request.metadata_mut().insert("x-large", value);
        fixture.server.anonymous().auth.get_jwks(request).await
    };

    for size in [100, 8_000, 15_000] {
        call(size).await.unwrap();
    }
    for size in [17_000, 40_000, 80_000, 128_000] {
        let refusal = refused(call(size).await);
        let class = (Code::ResourceExhausted, "METADATA_TOO_LARGE");
        assert_eq!(refusal.class(), class, "{size}");
    }
    // HTTP/2 itself refuses it, with a status of HTTP.
    let status = call(150_000).await.unwrap_err();
    assert!(status.message().contains("431"), "{status:?}");

    let revision = rename(owner, id, "Still watched").await;
    watcher.read_until(revision).await;
}
