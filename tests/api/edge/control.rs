//! How an edge calls the control plane.

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
    operations::sample::Sample,
};

const LIMIT: Duration = Duration::from_secs(10);

fn plane(address: &str, ca: Option<&Path>, api_key: ApiKey) -> ControlPlane {
    let ca = ca.map(|file| fs::read(file).unwrap());
    ControlPlane::new(address.parse().unwrap(), ca.as_deref(), api_key).unwrap()
}

fn text(key: &str) -> ApiKey {
    ApiKey::Text(Secret::new(key))
}

/// A call, as short as there is one.
async fn call(control: &ControlPlane, limit: Duration) -> Result<SyncNodeResponse, Status> {
    let request = SyncNodeRequest {
        node_id: "n1".to_owned(),
        boot_id: "b1".to_owned(),
        connections: Vec::new(),
    };
    let sync = StreamServiceClient::sync_node;
    control.call(Some(limit), request, sync).await
}

/// How many calls of a method a program has answered.
async fn handled(program: &Process, method: &str, code: &str) -> Option<f64> {
    let method = format!(r#"grpc_method="{method}""#);
    let code = format!(r#"grpc_code="{code}""#);
    let sample = Sample::of(program).await;
    sample.value("grpc_server_handled_total", &[&method, &code])
}

#[tokio::test]
async fn a_key_is_exchanged_once_for_many_calls() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::operators_key(&database).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;
    let address = format!("http://{}", program.address().await);
    let control = plane(&address, None, text(&key));

    let calls = (0..20).map(|_| {
        let control = control.clone();
        tokio::spawn(async move { call(&control, LIMIT).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }

    assert_eq!(handled(&program, "ExchangeApiKey", "OK").await, Some(1.0));
}

#[tokio::test]
async fn a_token_is_renewed_before_its_time_is_over() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::operators_key(&database).await;
    let settings = [("SLUICE_ACCESS_TOKEN_LIFETIME", "20s")];
    let program = Process::serve(&database, &settings);
    program.channel().await;
    let address = format!("http://{}", program.address().await);
    let control = plane(&address, None, text(&key));

    eventually("the token is renewed", async || {
        call(&control, LIMIT).await.unwrap();
        let exchanged = handled(&program, "ExchangeApiKey", "OK").await;
        (exchanged == Some(2.0)).then_some(())
    })
    .await;

    let refused = handled(&program, "SyncNode", "Unauthenticated").await;
    assert_eq!(refused.unwrap_or_default(), 0.0);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_within_the_call() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::operators_key(&database).await;
    let secret = |letter: &str| letter.repeat(32);
    let mut first = Process::serve(&database, &[("SLUICE_JWT_SECRET", &secret("a"))]);
    first.channel().await;
    let address = first.address().await;
    let control = plane(&format!("http://{address}"), None, text(&key));
    call(&control, LIMIT).await.unwrap();

    first.signal(Signal::KILL);
    first.ended().await;
    let settings = [
        ("SLUICE_JWT_SECRET", &*secret("b")),
        ("SLUICE_LISTEN", &*address),
    ];
    let second = Process::serve(&database, &settings);
    second.channel().await;
    eventually("the connection is made anew", async || {
        match call(&control, LIMIT).await {
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
async fn a_wrong_key_is_refused_and_not_tried_with_every_call() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::operators_key(&database).await;
    let wrong = format!("{}{}", &key[..key.len() - 4], "0000");
    let program = Process::serve(&database, &[]);
    program.channel().await;
    let address = format!("http://{}", program.address().await);
    let control = plane(&address, None, text(&wrong));

    for _ in 0..50 {
        let status = call(&control, LIMIT).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }

    let refused = handled(&program, "ExchangeApiKey", "Unauthenticated").await;
    assert!(refused.unwrap() < 10.0, "{refused:?}");
}

#[tokio::test]
async fn a_key_that_is_put_right_in_its_file_is_taken() {
    let server = TestServer::start(Sqlite).await;
    let file = server.database.directory.path().join("key");
    let address = format!("http://{}", server.address);
    let control = plane(&address, None, ApiKey::File(file.clone()));
    for text in [None, Some("slk_x"), Some("")] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let status = call(&control, LIMIT).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }

    let key = Process::operators_key(&server.database).await;
    fs::write(&file, format!("{key}\n")).unwrap();

    eventually("the key is taken", async || {
        call(&control, LIMIT).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_control_plane_is_trusted_by_its_own_authority_and_by_no_other() {
    let database = TestDatabase::create(Sqlite).await;
    let key = Process::operators_key(&database).await;
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

    let control = plane(&address, Some(&own.file), text(&key));
    eventually("the server answers", async || {
        call(&control, LIMIT).await.ok()
    })
    .await;
    for ca in [None, Some(&*other.file)] {
        let stranger = plane(&address, ca, text(&key));
        assert!(call(&stranger, LIMIT).await.is_err());
    }
}

#[tokio::test]
async fn a_control_plane_that_says_nothing_ends_no_call_late() {
    let server = TestServer::start(Sqlite).await;
    let key = Process::operators_key(&server.database).await;
    let proxy = Proxy::to(server.address).await;
    let address = format!("http://{}", proxy.address);
    let (fresh, used) = (
        plane(&address, None, text(&key)),
        plane(&address, None, text(&key)),
    );
    call(&used, LIMIT).await.unwrap();

    proxy.hush();

    for control in [fresh, used] {
        let limit = Duration::from_millis(500);
        // Without the limit it would last as long as the connection seems to stand.
        let answer = timeout(Duration::from_secs(4), call(&control, limit)).await;
        let status = answer.expect("it ends by itself").unwrap_err();
        // Whichever clock is the first.
        let is_late = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
        assert!(is_late, "{status:?}");
    }
}
