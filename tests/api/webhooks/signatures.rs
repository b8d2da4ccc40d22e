use std::process::Stdio;

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    endpoint::{Endpoint, Received},
    fixture::{create_request, create_with, rename, server},
};
use crate::harness::{Engine, Postgres, Sqlite, User, tool};

/// Whether the Python package `standardwebhooks` accepts a message with a secret.
async fn is_accepted(secret: &str, message: &Received) -> bool {
    const PROGRAM: &str = "
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError
given = json.load(sys.stdin)
try:
    Webhook(given['secret']).verify(given['body'], given['headers'])
except WebhookVerificationError as error:
    sys.exit(f'refused: {error}')
";
    let input = serde_json::json!({
        "secret": secret,
        "body": message.body,
        "headers": message.headers,
    });
    let mut python = Command::new(tool("venv/bin/python"))
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = python.wait_with_output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || error.starts_with("refused: No matching signature"),
        "{error}"
    );
    output.status.success()
}

async fn rotate(user: &User, webhook: &pb::Webhook, grace: i64) -> (pb::Webhook, String) {
    let request = pb::RotateWebhookSecretRequest {
        webhook_id: webhook.id.clone(),
        grace: Some(prost_types::Duration {
            seconds: grace,
            nanos: 0,
        }),
        ..Default::default()
    };
    let mut client = user.client.webhook.clone();
    let rotated = client.rotate_webhook_secret(request).await.unwrap();
    let rotated = rotated.into_inner();
    (rotated.webhook.unwrap(), rotated.secret)
}

#[rstest]
#[tokio::test]
async fn the_public_package_accepts_messages_of_either_secret_while_one_is_rotated(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let (webhook, first) = create_with(&user, create_request(&endpoint)).await;
    let (project, _) = user.project().await;
    let received = endpoint.wait_for(1).await;
    assert!(first.starts_with("whsec_"));
    assert!(is_accepted(&first, &received[0]).await);

    let (rotated, second) = rotate(&user, &webhook, 3600).await;
    assert!(rotated.previous_secret_expire_time.is_some());
    assert_ne!(rotated.etag, webhook.etag);
    rename(&user, &project.id, "With both").await;
    let received = endpoint.wait_for(2).await;
    let signatures = received[1].headers["webhook-signature"].split(' ').count();
    assert_eq!(signatures, 2);
    assert!(is_accepted(&first, &received[1]).await);
    assert!(is_accepted(&second, &received[1]).await);

    // Without a grace period the old secrets end at once.
    let (rotated, third) = rotate(&user, &webhook, 0).await;
    assert!(rotated.previous_secret_expire_time.is_none());
    rename(&user, &project.id, "With the third").await;
    let received = endpoint.wait_for(3).await;
    assert!(is_accepted(&third, &received[2]).await);
    assert!(!is_accepted(&first, &received[2]).await);
    assert!(!is_accepted(&second, &received[2]).await);
}

#[rstest]
#[tokio::test]
async fn a_changed_message_is_not_accepted(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let (_, secret) = create_with(&user, create_request(&endpoint)).await;
    user.project().await;
    let received = endpoint.wait_for(1).await.remove(0);

    let mut changed = received.clone();
    changed.body = changed.body.replace("Show", "Shop");
    assert!(!is_accepted(&secret, &changed).await);
    let mut changed = received.clone();
    changed
        .headers
        .insert("webhook-id".into(), "evt_0_1".into());
    assert!(!is_accepted(&secret, &changed).await);
    assert!(is_accepted(&secret, &received).await);
}

#[rstest]
#[tokio::test]
async fn the_secret_is_shown_once_and_stored_sealed(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let (webhook, secret) = create_with(&user, create_request(&endpoint)).await;

    let shown = super::fixture::get(&user, &webhook).await;
    assert!(!format!("{shown:?}").contains(&secret));
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let stored = match engine {
        Sqlite => format!("instr(lower(hex(secret_sealed)), '{hex}') > 0"),
        _ => format!("position('{hex}' in encode(secret_sealed, 'hex')) > 0"),
    };
    let sql = format!("select count(*) from webhooks where {stored}");
    assert_eq!(server.database.number(&sql).await, 0);
    let sql = "select count(*) from webhooks where length(secret_sealed) > 40";
    assert_eq!(server.database.number(sql).await, 1);
}
