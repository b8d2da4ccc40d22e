use std::sync::Arc;

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually, refused};

/// Signs in from an address behind the proxy.
async fn sign_in(
    client: &Client,
    address: &str,
    (email, password): (&str, &str),
) -> Result<Response<pb::SignInResponse>, Status> {
    let mut request = Request::new(pb::SignInRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    });
    let address = address.parse().unwrap();
    request.metadata_mut().insert("x-forwarded-for", address);
    client.auth.clone().sign_in(request).await
}

#[rstest]
#[tokio::test]
async fn one_address_cannot_keep_others_from_signing_in(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = [
        "--trusted-proxies=127.0.0.1",
        "--bcrypt-cost=8",
        "--password-queue=64",
        "--address-rate=0",
    ];
    let server = TestServer::start_with(engine, &flags).await;
    let ada = server.user().await;
    let client = server.anonymous();
    let stop = CancellationToken::new();
    let refusals = Arc::new(std::sync::atomic::AtomicUsize::new(0));

    let mut attackers = JoinSet::new();
    for number in 0..80 {
        let (client, stop, refusals) = (client.clone(), stop.clone(), Arc::clone(&refusals));
        attackers.spawn(async move {
            let email = format!("nobody{number}@example.com");
            while !stop.is_cancelled() {
                let answer = sign_in(&client, "198.51.100.1", (&email, "wrong horse")).await;
                let refusal = refused(answer);
                if refusal.class() == (Code::ResourceExhausted, "PASSWORD_QUEUE_FULL") {
                    refusals.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        });
    }
    eventually("the address has used its share", async || {
        (refusals.load(std::sync::atomic::Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    for number in 0..25 {
        let address = format!("203.0.113.{number}");
        let answer = sign_in(&client, &address, (&ada.email, ada.password)).await;
        answer.unwrap();
    }
    stop.cancel();
    attackers.join_all().await;
}
