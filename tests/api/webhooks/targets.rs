use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::net::TcpListener;

use super::{
    endpoint::Endpoint,
    fixture::{create_request, create_with, deliveries, server, set_disabled, wait_for_delivery},
};
use crate::harness::{
    Client, Engine, Postgres, Process, RebindingName, Sqlite, TestDatabase, TestServer, User,
    eventually, refused,
};

/// Creates a webhook and a project at a server that allows private hosts; then the same database
/// is served without.
async fn restarted_without_private_hosts(
    engine: Engine,
    url: &str,
) -> (TestServer, User, pb::Webhook) {
    let server = server(engine).await;
    let user = server.user().await;
    let request = pb::CreateWebhookRequest {
        url: url.to_owned(),
        disabled: true,
        ..Default::default()
    };
    let (webhook, _) = create_with(&user, request).await;
    let database = server.stop().await;
    let flags = ["--watch-poll-interval=100ms", "--webhook-retry-delay=100ms"];
    let server = TestServer::start_on(database, &flags).await;
    let client = Client::with_token(&server.channel, &user.tokens.access_token);
    let user = User { client, ..user };
    set_disabled(&user, &webhook, false).await;
    user.project().await;
    (server, user, webhook)
}

/// The name of an endpoint may change its address at any time, so the address is checked when it
/// is connected to.
#[rstest]
#[tokio::test]
async fn a_private_address_is_never_connected_to(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values("127.0.0.1", "localhost", "[::ffff:127.0.0.1]")] host: &str,
) {
    let endpoint = Endpoint::start().await;
    let url = format!("http://{host}:{}/", endpoint.address.port());
    let (_server, user, webhook) = restarted_without_private_hosts(engine, &url).await;

    let delivery = eventually("attempts fail", async || {
        let mut found = deliveries(&user, &webhook).await.into_iter();
        found.find(|one| one.attempts > 2)
    })
    .await;
    assert!(
        delivery.error.starts_with("ADDRESS_FORBIDDEN"),
        "{}",
        delivery.error
    );

    let request = pb::TestWebhookRequest {
        webhook_id: webhook.id.clone(),
    };
    let tested = user.client.webhook.clone().test_webhook(request).await;
    let tested = tested.unwrap().into_inner();
    assert!(
        tested.error.starts_with("ADDRESS_FORBIDDEN"),
        "{}",
        tested.error
    );
    let request = pb::RedeliverWebhookRequest {
        delivery_id: delivery.id,
    };
    let again = user.client.webhook.clone().redeliver_webhook(request).await;
    let again = again.unwrap().into_inner().delivery.unwrap();
    assert!(
        again.error.starts_with("ADDRESS_FORBIDDEN"),
        "{}",
        again.error
    );
    assert_eq!(endpoint.connections(), 0);
}

/// The name has a public address when it is first resolved. One that is also this machine's is as
/// bad as no other.
#[rstest]
#[tokio::test]
async fn a_name_that_changes_its_address_leads_to_no_private_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (database, endpoint) = (TestDatabase::create(engine).await, Endpoint::start().await);
    let name = RebindingName::new().await;
    let settings = [
        ("SLUICE_WATCH_POLL_INTERVAL", "100ms"),
        ("SLUICE_WEBHOOK_RETRY_DELAY", "10ms"),
        // The public address answers nobody.
        ("SLUICE_WEBHOOK_TIMEOUT", "300ms"),
    ];
    let program = Process::serve_with_rebinding(&database, &name, &settings);
    let user = User::sign_up(&program.channel().await).await;
    let port = endpoint.address.port();
    let request = pb::CreateWebhookRequest {
        url: format!("https://{}:{port}/", RebindingName::NAME),
        ..Default::default()
    };
    let (webhook, _) = create_with(&user, request).await;
    user.project().await;

    for _ in 0..2 {
        wait_for_delivery(&user, &webhook, |one| {
            one.error.starts_with("ADDRESS_FORBIDDEN")
        })
        .await;
        wait_for_delivery(&user, &webhook, |one| {
            !one.error.starts_with("ADDRESS_FORBIDDEN")
        })
        .await;
    }
    assert_eq!(endpoint.connections(), 0);
}

#[rstest]
#[tokio::test]
async fn an_endpoint_with_an_untrusted_certificate_gets_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = server(engine).await;
    let user = server.user().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It speaks no TLS: whoever sent the message before the handshake would be heard here.
    let heard = tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 * 1024];
        let length = stream.read(&mut bytes).await.unwrap();
        bytes.truncate(length);
        bytes
    });
    let request = pb::CreateWebhookRequest {
        url: format!("https://localhost:{}/", address.port()),
        ..Default::default()
    };
    let (webhook, _) = create_with(&user, request).await;
    user.project().await;

    let bytes = heard.await.unwrap();
    assert_eq!(bytes[0], 22, "a TLS handshake");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!text.contains("webhook-id") && !text.contains("project"));
    let delivery = wait_for_delivery(&user, &webhook, |_| true).await;
    assert!(
        delivery.error.starts_with("TLS_FAILED"),
        "{}",
        delivery.error
    );
}

#[rstest]
#[tokio::test]
async fn private_hosts_and_plain_http_are_refused_unless_they_are_allowed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let strict = TestServer::start(engine).await;
    let user = strict.user().await;
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "https://metadata.google.internal/",
        "https://2130706433/",
    ] {
        let request = pb::CreateWebhookRequest {
            url: url.to_owned(),
            ..Default::default()
        };
        let refusal = refused(user.client.webhook.clone().create_webhook(request).await);
        assert_eq!(refusal.fields(), ["url"], "{url}");
    }

    let allowed = server(engine).await;
    let (user, endpoint) = (allowed.user().await, Endpoint::start().await);
    create_with(&user, create_request(&endpoint)).await;
}
