//! The edge as a client of the control plane.

use std::{fs, path::Path, time::Duration};

use sluice::{
    domain::Secret,
    edge::{ApiKey, ControlPlane},
    proto::v1::{SyncNodeRequest, SyncNodeResponse, stream_service_client::StreamServiceClient},
};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::{
    harness::{
        Certificate, Engine::Sqlite, Process, Proxy, Signal, TestDatabase, TestServer, eventually,
    },
    operations::scrape::Scrape,
};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

fn control_plane(address: &str, ca: Option<&Path>, api_key: ApiKey) -> ControlPlane {
    let ca = ca.map(|file| fs::read(file).unwrap());
    ControlPlane::new(address.parse().unwrap(), ca.as_deref(), api_key).unwrap()
}

fn text(key: &str) -> ApiKey {
    ApiKey::Text(Secret::new(key))
}

/// A minimal call.
async fn call(control: &ControlPlane, limit: Duration) -> Result<SyncNodeResponse, Status> {
    let request = SyncNodeRequest {
        node_id: "n1".to_owned(),
        boot_id: "b1".to_owned(),
        connections: Vec::new(),
    };
    let sync = StreamServiceClient::sync_node;
    control.call(Some(limit), request, sync).await
}

/// Number of calls of a method that a program has handled.
async fn handled(program: &Process, method: &str, code: &str) -> Option<f64> {
    let method = format!(r#"grpc_method="{method}""#);
    let code = format!(r#"grpc_code="{code}""#);
    let scrape = Scrape::of(program).await;
    scrape.value("grpc_server_handled_total", &[&method, &code])
}

#[tokio::test]
async fn an_api_key_is_exchanged_once_for_many_calls() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::create_operator_key(&database).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;
    let address = format!("http://{}", program.address().await);
    let control = control_plane(&address, None, text(&key));

    let calls = (0..20).map(|_| {
        let control = control.clone();
        tokio::spawn(async move { call(&control, CALL_TIMEOUT).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }

    assert_eq!(handled(&program, "ExchangeApiKey", "OK").await, Some(1.0));
}

#[tokio::test]
async fn an_access_token_is_renewed_before_it_expires() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::create_operator_key(&database).await;
    let settings = [("SLUICE_ACCESS_TOKEN_LIFETIME", "20s")];
    let program = Process::serve(&database, &settings);
    program.channel().await;
    let address = format!("http://{}", program.address().await);
    let control = control_plane(&address, None, text(&key));

    eventually("the token is renewed", async || {
        call(&control, CALL_TIMEOUT).await.unwrap();
        let exchanged = handled(&program, "ExchangeApiKey", "OK").await;
        (exchanged == Some(2.0)).then_some(())
    })
    .await;

    let refused = handled(&program, "SyncNode", "Unauthenticated").await;
    assert_eq!(refused.unwrap_or_default(), 0.0);
}

#[tokio::test]
async fn a_refused_access_token_is_replaced_within_the_call() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::create_operator_key(&database).await;
    let secret = |letter: &str| letter.repeat(32);
    let mut first = Process::serve(&database, &[("SLUICE_JWT_SECRET", &secret("a"))]);
    first.channel().await;
    let address = first.address().await;
    let control = control_plane(&format!("http://{address}"), None, text(&key));
    call(&control, CALL_TIMEOUT).await.unwrap();

    first.signal(Signal::KILL);
    first.wait_for_exit().await;
    let settings = [
        ("SLUICE_JWT_SECRET", &*secret("b")),
        ("SLUICE_LISTEN", &*address),
    ];
    let second = Process::serve(&database, &settings);
    second.channel().await;
    eventually("the connection is made anew", async || {
        match call(&control, CALL_TIMEOUT).await {
            Ok(_) => Some(()),
            Err(status) => {
                assert_ne!(status.code(), Code::Unauthenticated);
                None
            }
        }
    })
    .await;
    assert_eq!(handled(&second, "ExchangeApiKey", "OK").await, Some(1.0));
}

#[tokio::test]
async fn a_wrong_api_key_is_not_retried_with_every_call() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::create_operator_key(&database).await;
    let wrong = format!("{}{}", &key[..key.len() - 4], "0000");
    let program = Process::serve(&database, &[]);
    program.channel().await;
    let address = format!("http://{}", program.address().await);
    let control = control_plane(&address, None, text(&wrong));

    for _ in 0..50 {
        let status = call(&control, CALL_TIMEOUT).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }

    let refused = handled(&program, "ExchangeApiKey", "Unauthenticated").await;
    assert!(refused.unwrap() < 10.0, "{refused:?}");
}

#[tokio::test]
async fn a_corrected_api_key_file_is_read_again() {
    let server = TestServer::start(Sqlite).await;
    let file = server.database.directory.path().join("key");
    let address = format!("http://{}", server.address);
    let control = control_plane(&address, None, ApiKey::File(file.clone()));
    for text in [None, Some("slk_x"), Some("")] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let status = call(&control, CALL_TIMEOUT).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }

    let key = Process::create_operator_key(&server.database).await;
    fs::write(&file, format!("{key}\n")).unwrap();

    eventually("the key is accepted", async || {
        call(&control, CALL_TIMEOUT).await.ok()
    })
    .await;
}

#[tokio::test]
async fn the_control_plane_is_trusted_only_with_its_own_ca() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::create_operator_key(&database).await;
    let own = Certificate::make(database.directory.path()).await;
    let folder = tempfile::tempdir().unwrap();
    let other = Certificate::make(folder.path()).await;
    let settings = [
        ("SLUICE_TLS_CERT", own.file.to_str().unwrap()),
        ("SLUICE_TLS_KEY", own.key.to_str().unwrap()),
    ];
    let program = Process::serve(&database, &settings);
    let (_, port) = {
        let address = program.address().await;
        let (host, port) = address.rsplit_once(':').unwrap();
        (host.to_owned(), port.to_owned())
    };
    let address = format!("https://localhost:{port}");

    let control = control_plane(&address, Some(&own.file), text(&key));
    eventually("the server answers", async || {
        call(&control, CALL_TIMEOUT).await.ok()
    })
    .await;
    for ca in [None, Some(&*other.file)] {
        let stranger = control_plane(&address, ca, text(&key));
        assert!(call(&stranger, CALL_TIMEOUT).await.is_err());
    }
}

#[tokio::test]
async fn calls_to_an_unresponsive_control_plane_end_at_their_deadline() {
    let server = TestServer::start(Sqlite).await;
    let key = Process::create_operator_key(&server.database).await;
    let proxy = Proxy::to(server.address).await;
    let address = format!("http://{}", proxy.address);
    let (fresh, used) = (
        control_plane(&address, None, text(&key)),
        control_plane(&address, None, text(&key)),
    );
    call(&used, CALL_TIMEOUT).await.unwrap();

    proxy.blackhole();

    for control in [fresh, used] {
        let limit = Duration::from_millis(500);
        // Without the limit the call would last as long as the connection.
        let answer = timeout(Duration::from_secs(20), call(&control, limit)).await;
        let status = answer.expect("it ends by itself").unwrap_err();
        // The deadline of the client or of the transport, whichever is first.
        let is_late = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
        assert!(is_late, "{status:?}");
    }
}
