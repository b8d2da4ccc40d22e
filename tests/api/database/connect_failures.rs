//! Servers that do not answer as PostgreSQL does: a proxy without a server behind it, or a
//! server in a failover.

use std::net::SocketAddr;

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::Code;

use crate::{
    harness::{Postgres, Process, Proxy, TestDatabase, TestServer, eventually, refused},
    lifecycle::startup::outcome,
};

/// Accepts connections, and answers the first bytes of each with these.
pub async fn answering(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let read = client.read(&mut request).await;
                if read.is_err() || client.write_all(&answer).await.is_err() || answer.is_empty() {
                    return;
                }
                // Until the client closes the connection.
                while let Ok(1..) = client.read(&mut request).await {}
            });
        }
    });
    address
}

/// Refuses TLS, then answers with an error of PostgreSQL.
pub fn error(state: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{state}\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"NE", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

#[rstest]
#[case::closed(vec![])]
#[case::zero(vec![0])]
#[case::another_protocol(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]
#[case::broken_tls(b"SHTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]
#[case::garbage(b"N\xff\xff\xff\xff\xff\xff".to_vec())]
#[case::unexpected_message(b"NC\0\0\0\x04".to_vec())]
#[case::starting(error("57P03", "the database system is starting up"))]
#[case::full(error("53300", "too many connections"))]
#[case::disk_full(error("53100", "no space left on device"))]
#[case::wrong_password(error("28P01", "password authentication failed"))]
#[case::refused(error("28000", "no pg_hba.conf entry"))]
#[case::no_database(error("3D000", "database does not exist"))]
#[case::internal(error("XX000", "unexpected"))]
#[tokio::test]
async fn whatever_fails_while_connecting_the_database_is_unavailable(#[case] answer: Vec<u8>) {
    let (database, mut proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
    let server = TestServer::start_on(database, &["--db-acquire-timeout=1s"]).await;
    let mut ada = server.user().await.client;
    let stub = answering(answer).await;

    proxy.disconnect().await;
    proxy.reconnect_to(stub).await;

    for _ in 0..3 {
        let refusal = refused(ada.auth.get_me(pb::GetMeRequest {}).await);
        assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    }
}

#[tokio::test]
async fn a_password_that_is_wrong_at_runtime_is_logged_and_does_not_stop_the_server() {
    let database = TestDatabase::create(Postgres).await;
    let direct = database.url.rsplit('@').next().unwrap().to_owned();
    let (host, _) = direct.split_once('/').unwrap();
    let target = tokio::net::lookup_host(host).await.unwrap().next().unwrap();
    let (database, mut proxy) = Proxy::to_database(database).await;
    let server = Process::serve(&database, &[("SLUICE_DB_ACQUIRE_TIMEOUT", "1s")]);
    server.channel().await;

    proxy.disconnect().await;
    let stub = answering(error("28P01", "password authentication failed")).await;
    proxy.reconnect_to(stub).await;
    let expected = "does not accept the user or the password of DATABASE_URL";
    eventually("the failure is logged", async || {
        let log = server.log();
        log.iter().any(|line| line.contains(expected)).then_some(())
    })
    .await;

    proxy.disconnect().await;
    proxy.reconnect_to(target).await;
    server.channel().await;
}

#[rstest]
#[case("28P01", "does not accept the user or the password of DATABASE_URL")]
#[case(
    "28000",
    "refuses this connection: check the user (DATABASE_URL), sslmode"
)]
#[case("3D000", "has no database \"shows\" (DATABASE_URL): create it")]
#[case("22023", "does not accept a parameter of DATABASE_URL")]
#[tokio::test]
async fn a_start_that_only_an_operator_can_help_ends_with_one_sentence(
    #[case] state: &str,
    #[case] expected: &str,
) {
    let address = answering(error(state, "because")).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("postgres://ada:hunter2@{address}/shows");
    let settings = [
        ("DATABASE_URL", &*url),
        ("SLUICE_DATA_DIR", folder.path().to_str().unwrap()),
        ("SLUICE_LISTEN", "127.0.0.1:0"),
    ];

    let (code, stderr) = outcome(&["serve"], &settings).await;

    assert_eq!(code, Some(1), "{stderr}");
    let last = stderr.lines().last().unwrap();
    let beginning = format!("sluice: {address} {expected}");
    assert!(last.starts_with(&beginning), "{last}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}
