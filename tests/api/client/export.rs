use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::Value;

use super::fixture::{Cli, failed};
use crate::{
    auth::{
        calls::{api_key_request, new_api_key},
        second_factor_calls::enrol,
    },
    harness::{Engine, Postgres, Sqlite, TestServer},
    project::fixtures::{create_destination, youtube_destination},
    usage::fixture::{HOURS, plant_record},
    webhooks::fixture::{create_quiet, plant_delivery},
};

#[rstest]
#[tokio::test]
async fn an_export_has_a_line_for_each_record_of_the_account_and_no_secret(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let stranger = server.user().await;
    stranger.project().await;
    let (_, secret) = new_api_key(&user, api_key_request(&["projects:read"])).await;
    let (_, codes) = enrol(&user).await;
    let mut stream_key = String::new();
    // More than a page.
    for _ in 0..201 {
        stream_key = user.project().await.1;
    }
    let (project, _) = user.project().await;
    let destination = youtube_destination(&project);
    let destination_key = destination.stream_key.clone();
    create_destination(&user, destination).await;
    let node = server.media_server().await;
    node.live(&stream_key, "c1").await;
    node.begin(&stream_key, "refused").await.unwrap_err();

    let webhook = create_quiet(&user, &project.id, true).await;
    for revision in 1..=2 {
        let (database, id) = (&server.database, &webhook.id);
        plant_delivery(database, id, &project.id, revision, "delivered").await;
    }

    plant_record(&server.database, &user.user.id, &project.id, None, HOURS[0]).await;

    let text = cli.output(&["export"]).await;

    let mut kinds = BTreeMap::<_, usize>::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["record"].is_object(), "{line}");
        *kinds
            .entry(line["kind"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    for (kind, number) in [
        ("user", 1),
        ("session", 2),
        ("apiKey", 1),
        ("secondFactor", 1),
        ("project", 202),
        ("destination", 1),
        ("stream", 1),
        ("refusal", 1),
        ("webhook", 1),
        ("webhookDelivery", 2),
        ("usageRecord", 1),
    ] {
        assert_eq!(kinds.remove(kind), Some(number), "{kind}");
    }
    assert!(
        kinds
            .remove("auditEvent")
            .is_some_and(|number| number > 200)
    );
    assert_eq!(kinds.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
    for secret in [&secret, &codes[0], &stream_key, &destination_key] {
        assert!(!text.contains(&**secret), "{secret}");
    }
    assert!(!text.contains(&stranger.user.id));
}

#[tokio::test]
async fn an_api_key_cannot_export_the_account() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (_, secret) = new_api_key(&user, api_key_request(&["projects:read"])).await;

    let output = cli.run_with(&["export"], ("SLUICE_API_KEY", &secret)).await;

    failed(&output, 3, &["sluice login"]);
}
