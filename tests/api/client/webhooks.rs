use rstest::rstest;

use super::fixture::{Cli, failed};
use crate::{
    harness::{Engine, Postgres, Sqlite},
    webhooks::{
        endpoint::{Answer, Endpoint},
        fixture::server,
    },
};

#[rstest]
#[tokio::test]
async fn a_webhook_is_created_tested_changed_and_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, _) = user.project().await;
    let url = endpoint.url();

    let create = ["webhook", "create", &url, "--project", "Show", "--event"];
    let create = [&create[..], &["project.updated", "--description", "Alerts"]].concat();
    let secret = cli.output(&create).await;
    // Only the secret is on standard output.
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!(secret.trim().lines().count(), 1, "{secret}");

    let listed = cli.json(&["webhooks", "list", "--project", "Show"]).await;
    let webhook = &listed["webhooks"][0];
    let id = webhook["id"].as_str().unwrap();
    assert_eq!(webhook["projectId"], project.id);
    assert_eq!(webhook["description"], "Alerts");
    let table = cli.output(&["webhook", "list"]).await;
    assert!(
        table.contains("project.updated") && table.contains("enabled"),
        "{table}"
    );

    let tested = cli.output(&["webhook", "test", id]).await;
    assert!(tested.contains("204"), "{tested}");
    endpoint.answer_next(Answer::status(500));
    let output = cli.run(&["webhook", "test", id]).await;
    failed(
        &output,
        1,
        &["the endpoint has not taken the message: HTTP_STATUS"],
    );

    let rotate = ["webhook", "rotate-secret", id, "--grace", "1h"];
    let rotated = cli.output(&rotate).await;
    assert!(
        rotated.starts_with("whsec_") && rotated != secret,
        "{rotated}"
    );
    let update = [
        "webhook",
        "update",
        id,
        "--disabled",
        "true",
        "--all-events",
    ];
    let updated = cli.output(&update).await;
    assert!(
        updated.contains("disabled") && updated.contains("old secret until"),
        "{updated}"
    );
    cli.output(&["webhook", "get", id]).await;
    cli.output(&["webhook", "delete", id]).await;
    let output = cli.run(&["webhook", "get", id]).await;
    failed(&output, 4, &["webhook"]);
}

#[rstest]
#[tokio::test]
async fn deliveries_are_listed_and_sent_again(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let (cli, user) = Cli::signed_in(&server).await;
    let webhook = crate::webhooks::fixture::create(&user, &endpoint).await;
    user.project().await;
    crate::webhooks::fixture::wait_for_delivery(&user, &webhook, |_| true).await;

    let deliveries = ["webhook", "deliveries", &webhook.id, "--state", "delivered"];
    let table = cli.output(&deliveries).await;
    assert!(
        table.contains("project.created") && table.contains("DELIVERED"),
        "{table}"
    );
    let listed = cli.json(&deliveries).await;
    let id = listed["deliveries"][0]["id"].as_str().unwrap();
    let again = cli.output(&["webhook", "redeliver", id]).await;

    assert!(again.contains("204"), "{again}");
    assert_eq!(endpoint.received().len(), 2);
}
