use std::{collections::BTreeMap, time::Duration};

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    endpoint::{Answer, Endpoint},
    fixture::{
        FLAGS, create, create_request, create_with, deliveries, rename, server, server_with,
        set_disabled, wait_for_delivery,
    },
};
use crate::harness::{
    Client, Engine, Postgres, Process, Signal, Sqlite, TestDatabase, TestServer, User, Watcher,
    eventually,
};

#[rstest]
#[tokio::test]
async fn a_message_has_the_headers_of_standard_webhooks_and_the_event_of_watch_projects(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    create(&user, &endpoint).await;

    let (project, _) = user.project().await;
    let received = endpoint.wait_for(1).await;

    let (message, body) = (&received[0], received[0].json());
    assert_eq!(message.headers["content-type"], "application/json");
    assert!(message.headers["user-agent"].starts_with("sluice/"));
    let id = format!("evt_{}_1", project.id.replace('-', ""));
    assert_eq!(message.id(), id);
    assert!(message.headers["webhook-signature"].starts_with("v1,"));
    assert!(message.headers["webhook-timestamp"].parse::<i64>().unwrap() > 0);
    assert_eq!(body["type"], "project.created");
    assert_eq!(body["data"]["projectId"], project.id);
    assert_eq!(body["data"]["revision"], "1");
    assert_eq!(body["data"]["projectUpdated"]["displayName"], "Show");
    assert_eq!(body["data"]["projectUpdated"]["id"], project.id);
}

#[rstest]
#[tokio::test]
async fn events_of_each_project_arrive_in_the_order_of_their_revisions(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    create(&user, &endpoint).await;
    let (first, _) = user.project().await;
    let (second, _) = user.project().await;

    for number in 0..20 {
        rename(&user, &first.id, &format!("First {number}")).await;
        rename(&user, &second.id, &format!("Second {number}")).await;
    }
    let received = endpoint.wait_for(42).await;

    let mut revisions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for message in received {
        let of_project = revisions.entry(message.project()).or_default();
        of_project.push(message.revision());
    }
    let all: Vec<i64> = (1..=21).collect();
    assert_eq!(revisions[&first.id], all);
    assert_eq!(revisions[&second.id], all);
}

#[rstest]
#[tokio::test]
async fn a_webhook_begins_after_the_events_that_there_are_and_gets_the_projects_created_later(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let (old, _) = user.project().await;
    create(&user, &endpoint).await;

    rename(&user, &old.id, "Renamed").await;
    let (new, _) = user.project().await;
    let received = endpoint.wait_for(2).await;

    let mut found: Vec<_> = received
        .iter()
        .map(|message| (message.project(), message.revision()))
        .collect();
    found.sort();
    let mut expected = vec![(old.id, 2), (new.id, 1)];
    expected.sort();
    assert_eq!(found, expected);
}

#[rstest]
#[tokio::test]
async fn a_webhook_of_a_project_gets_no_events_of_others(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let (mine, _) = user.project().await;
    let (other, _) = user.project().await;
    let request = pb::CreateWebhookRequest {
        project_id: mine.id.clone(),
        ..create_request(&endpoint)
    };
    create_with(&user, request).await;

    rename(&user, &other.id, "Other").await;
    rename(&user, &mine.id, "Mine").await;
    let received = endpoint.wait_for(1).await;

    assert_eq!(received.len(), 1);
    assert_eq!(received[0].project(), mine.id);
}

#[rstest]
#[tokio::test]
async fn only_the_chosen_types_are_sent(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let request = pb::CreateWebhookRequest {
        event_types: vec!["project.deleted".to_owned()],
        ..create_request(&endpoint)
    };
    create_with(&user, request).await;
    let (project, _) = user.project().await;
    for number in 0..40 {
        rename(&user, &project.id, &format!("Show {number}")).await;
    }

    let request = pb::DeleteProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let mut projects = user.client.project.clone();
    projects.delete_project(request).await.unwrap();
    let received = endpoint.wait_for(1).await;

    assert_eq!(received[0].event_type(), "project.deleted");
    assert_eq!(received[0].revision(), 42);
    assert_eq!(received.len(), 1);
}

#[rstest]
#[tokio::test]
async fn the_states_of_a_stream_are_types_of_their_own(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    create(&user, &endpoint).await;
    let (project, stream_key) = user.project().await;
    let mut watcher = Watcher::resume(&user.client, &project.id, 1).await.unwrap();

    let media_server = server.media_server().await;
    let stream = media_server.live(&stream_key, "c1").await;
    media_server.end(&stream, "c1").await;
    let ended = endpoint.wait_for_type("stream.ended").await;

    // What the watch of the project sends is what the endpoint gets.
    loop {
        let change = watcher.change().await.unwrap();
        if watcher.revision == ended.revision() {
            assert!(format!("{change:?}").contains("Ended"), "{change:?}");
            break;
        }
    }
    endpoint.wait_for_type("stream.live").await;
    for message in endpoint.received() {
        assert!(!message.body.contains(&stream_key));
    }
}

#[rstest]
#[tokio::test]
async fn deliveries_are_listed_with_their_status_and_timing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let webhook = create(&user, &endpoint).await;
    let (project, _) = user.project().await;

    let delivered = pb::WebhookDeliveryState::Delivered;
    let delivery = wait_for_delivery(&user, &webhook, |one| one.state() == delivered).await;

    assert_eq!(delivery.webhook_id, webhook.id);
    assert_eq!(delivery.project_id, project.id);
    assert_eq!((delivery.revision, delivery.attempts), (1, 1));
    assert_eq!(delivery.event_type, "project.created");
    assert_eq!((delivery.status_code, &*delivery.error), (204, ""));
    assert_eq!(delivery.message_id, endpoint.received()[0].id());
    assert!(delivery.latency.is_some() && delivery.next_attempt_time.is_none());
}

#[rstest]
#[tokio::test]
async fn a_hung_endpoint_does_not_delay_others(#[values(Sqlite, Postgres)] engine: Engine) {
    // Whoever waits for one that hangs would wait longer than this test.
    let flags = ["--webhook-timeout=1min", "--webhook-concurrency=24"];
    let server = server_with(engine, &flags).await;
    let (user, working) = (server.user().await, Endpoint::start().await);
    let mut hung = Vec::new();
    for _ in 0..5 {
        let endpoint = Endpoint::answering(Answer::Hang).await;
        create(&user, &endpoint).await;
        hung.push(endpoint);
    }
    let webhook = create(&user, &working).await;

    let mut projects = Vec::new();
    for _ in 0..8 {
        projects.push(user.project().await.0);
    }
    for project in &projects {
        rename(&user, &project.id, "Renamed").await;
    }
    working.wait_for(16).await;

    for endpoint in &hung {
        let ids: Vec<_> = endpoint
            .received()
            .iter()
            .map(|one| one.revision())
            .collect();
        assert!(ids.iter().all(|revision| *revision == 1), "{ids:?}");
    }
    wait_for_delivery(&user, &webhook, |one| one.revision == 2).await;
}

/// An event that is committed is delivered although its server is killed before it could.
#[rstest]
#[tokio::test]
async fn two_replicas_deliver_each_event_in_order_although_they_are_killed(
    #[values(Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let settings = [
        ("SLUICE_ALLOW_PRIVATE_WEBHOOKS", "true"),
        ("SLUICE_WEBHOOK_RETRY_DELAY", "100ms"),
        ("SLUICE_WATCH_POLL_INTERVAL", "100ms"),
    ];
    let endpoint = Endpoint::answering(Answer::Slow(Duration::from_millis(5), 200)).await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Process::serve(&database, &settings));
    }
    let user = User::sign_up(&replicas[0].channel().await).await;
    create(&user, &endpoint).await;
    let (project, _) = user.project().await;

    let mut revision = 1;
    for kill in 0..4 {
        let channel = replicas[kill % 2].channel().await;
        let client = Client::with_token(&channel, &user.tokens.access_token);
        for number in 0..10 {
            let request = pb::UpdateProjectRequest {
                project_id: project.id.clone(),
                display_name: Some(format!("Show {kill} {number}")),
                ..Default::default()
            };
            client
                .project
                .clone()
                .update_project(request)
                .await
                .unwrap();
            revision += 1;
        }
        replicas[kill % 2].signal(Signal::KILL);
        replicas[kill % 2].wait_for_exit().await;
        replicas[kill % 2] = Process::serve(&database, &settings);
    }
    let delivered = eventually("the last event arrives", async || {
        let received = endpoint.received();
        let is_last = received.iter().any(|one| one.revision() == revision);
        is_last.then_some(received)
    })
    .await;

    // At least once, and never a later one before an earlier one.
    let mut highest = 0;
    for message in &delivered {
        assert!(message.revision() <= highest + 1, "{}", message.revision());
        highest = highest.max(message.revision());
    }
    assert_eq!(highest, revision);
}

#[rstest]
#[tokio::test]
async fn a_server_that_stops_gives_its_webhooks_back_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    // Neither an answer nor the end of an attempt comes before the server has stopped.
    let flags = [&FLAGS[..], &["--webhook-timeout=1min"]].concat();
    let server = TestServer::start_with(engine, &flags).await;
    let (user, hung) = (server.user().await, Endpoint::answering(Answer::Hang).await);
    create(&user, &hung).await;
    user.project().await;
    hung.wait_for(1).await;

    let database = server.stop().await;

    let leases = "select count(*) from webhook_cursors where lease_id is not null";
    assert_eq!(database.number(leases).await, 0);
    hung.set_answer(Answer::status(200));
    let _server = TestServer::start_on(database, &flags).await;
    let received = hung.wait_for(2).await;
    assert_eq!(received[0].id(), received[1].id());
}

#[rstest]
#[tokio::test]
async fn events_that_were_deleted_before_they_could_be_sent_are_a_gap(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let webhook = create(&user, &endpoint).await;
    let (project, _) = user.project().await;
    wait_for_delivery(&user, &webhook, |one| one.revision == 1).await;

    let disabled = set_disabled(&user, &webhook, true).await;
    for number in 0..5 {
        rename(&user, &project.id, &format!("Show {number}")).await;
    }
    let sql = "delete from events where revision between 2 and 4";
    server.database.execute(sql).await;
    set_disabled(&user, &disabled, false).await;
    let received = endpoint.wait_for(4).await;

    let gap = received[1].json();
    assert_eq!(gap["type"], "events.gap");
    assert_eq!(gap["data"]["projectId"], project.id);
    assert_eq!(gap["data"]["firstRevision"], "2");
    assert_eq!(gap["data"]["lastRevision"], "4");
    assert_eq!(received[2].revision(), 5);
    assert_eq!(received[3].revision(), 6);
    let gap = wait_for_delivery(&user, &webhook, |one| one.event_type == "events.gap").await;
    assert_eq!(gap.revision, 4);
    assert_eq!(deliveries(&user, &webhook).await.len(), 4);
}
