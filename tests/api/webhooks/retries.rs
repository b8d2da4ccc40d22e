use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    endpoint::{Answer, Endpoint},
    fixture::{
        create, create_request, create_with, deliveries, get, rename, server, server_with,
        set_disabled, wait_for_delivery,
    },
};
use crate::{
    auth::mail_calls::{let_a_minute_pass, verified_user},
    harness::{Engine, Postgres, Sqlite, TestServer, User, eventually},
};

/// The actions of an account's audit log.
async fn audited(user: &User) -> Vec<(String, String)> {
    let request = pb::ListAuditEventsRequest {
        page_size: 200,
        ..Default::default()
    };
    let mut auth = user.client.auth.clone();
    let events = auth.list_audit_events(request).await.unwrap().into_inner();
    let events = events.audit_events.into_iter();
    events
        .map(|event| (event.action, event.resource_id))
        .collect()
}

/// A webhook whose endpoint gives an answer, and a project with one event.
async fn failing(server: &TestServer, answer: Answer) -> (User, Endpoint, pb::Webhook) {
    let (user, endpoint) = (server.user().await, Endpoint::answering(answer).await);
    let webhook = create(&user, &endpoint).await;
    user.project().await;
    (user, endpoint, webhook)
}

#[rstest]
#[tokio::test]
async fn a_failed_message_is_sent_again_with_the_same_id_before_the_next_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    endpoint.answer_next(Answer::status(500));
    endpoint.answer_next(Answer::Close);
    endpoint.answer_next(Answer::status(404));
    let webhook = create(&user, &endpoint).await;
    let (project, _) = user.project().await;
    rename(&user, &project.id, "Renamed").await;

    let received = endpoint.wait_for(5).await;

    let revisions: Vec<_> = received.iter().map(|one| one.revision()).collect();
    assert_eq!(revisions, [1, 1, 1, 1, 2]);
    assert!(received[..4].iter().all(|one| one.id() == received[0].id()));
    let delivery = wait_for_delivery(&user, &webhook, |one| {
        one.revision == 1 && one.state() == pb::WebhookDeliveryState::Delivered
    })
    .await;
    assert_eq!((delivery.attempts, delivery.status_code), (4, 204));
    assert!(get(&user, &webhook).await.failing_since_time.is_none());
}

#[rstest]
#[case(Answer::status(503), 503, "HTTP_STATUS")]
#[case(Answer::Close, 0, "CONNECTION_LOST")]
#[case(Answer::Hang, 0, "TIMEOUT")]
#[tokio::test]
async fn a_delivery_that_is_retried_says_why_and_when_the_next_attempt_is(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] answer: Answer,
    #[case] status: i32,
    #[case] error: &str,
) {
    let flags = ["--webhook-retry-delay=10min", "--webhook-timeout=300ms"];
    let server = server_with(engine, &flags).await;
    let (user, _endpoint, webhook) = failing(&server, answer).await;

    let retrying = pb::WebhookDeliveryState::Retrying;
    let delivery = wait_for_delivery(&user, &webhook, |one| one.state() == retrying).await;

    assert_eq!((delivery.attempts, delivery.status_code), (1, status));
    assert!(delivery.error.starts_with(error), "{}", delivery.error);
    let (last, next) = (delivery.last_attempt_time, delivery.next_attempt_time);
    let delay = next.unwrap().seconds - last.unwrap().seconds;
    assert!((299..=601).contains(&delay), "{delay}");
    assert!(get(&user, &webhook).await.failing_since_time.is_some());
}

#[rstest]
#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, target) = (server(engine).await, Endpoint::start().await);
    let location = format!("location: {}\r\n", target.url());
    for status in [301, 302, 307, 308] {
        let answer = Answer::Status(status, location.clone());
        let (user, endpoint, webhook) = failing(&server, answer).await;
        endpoint.wait_for(2).await;
        let delivery = wait_for_delivery(&user, &webhook, |one| one.attempts > 1).await;
        assert_eq!(delivery.status_code, i32::from(status));
        assert!(delivery.error.starts_with("REDIRECT"), "{}", delivery.error);
    }
    assert_eq!(target.connections(), 0);
}

#[rstest]
#[tokio::test]
async fn retry_after_is_honoured_up_to_an_hour(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = server(engine).await;
    for (seconds, expected) in [("300", 300), ("999999", 3600)] {
        let answer = Answer::Status(429, format!("retry-after: {seconds}\r\n"));
        let (user, endpoint, webhook) = failing(&server, answer).await;
        let delivery = wait_for_delivery(&user, &webhook, |_| true).await;
        let (last, next) = (delivery.last_attempt_time, delivery.next_attempt_time);
        let delay = next.unwrap().seconds - last.unwrap().seconds;
        assert!((expected - 1..=expected + 1).contains(&delay), "{delay}");
        assert_eq!(endpoint.received().len(), 1);
    }
}

#[rstest]
#[tokio::test]
async fn a_webhook_is_disabled_with_an_audit_event_after_the_retry_period(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = server_with(engine, &["--webhook-retry-period=500ms"]).await;
    let (user, endpoint, webhook) = failing(&server, Answer::status(500)).await;

    let disabled = eventually("the webhook is disabled", async || {
        Some(get(&user, &webhook).await).filter(|webhook| webhook.disabled)
    })
    .await;

    let failing = pb::WebhookDisableReason::Failing;
    assert_eq!(disabled.disable_reason(), failing);
    assert_ne!(disabled.etag, webhook.etag);
    let actions = audited(&user).await;
    assert!(actions.contains(&("DisableWebhook".to_owned(), webhook.id.clone())));
    let failed = deliveries(&user, &webhook).await;
    assert_eq!(failed[0].state(), pb::WebhookDeliveryState::Failed);
    assert!(failed[0].next_attempt_time.is_none());
    let count = endpoint.received().len();
    assert!(count >= 2);

    // Nothing is lost: it goes on where it was.
    endpoint.set_answer(Answer::status(200));
    let enabled = set_disabled(&user, &webhook, false).await;
    assert_eq!(enabled.disable_reason, 0);
    let received = endpoint.wait_for(count + 1).await;
    assert_eq!(received[count].id(), received[0].id());
}

#[rstest]
#[tokio::test]
async fn an_endpoint_that_is_gone_disables_its_webhook_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = server(engine).await;
    let (user, endpoint, webhook) = failing(&server, Answer::status(410)).await;

    let disabled = eventually("the webhook is disabled", async || {
        Some(get(&user, &webhook).await).filter(|webhook| webhook.disabled)
    })
    .await;

    let gone = pb::WebhookDisableReason::Gone;
    assert_eq!(disabled.disable_reason(), gone);
    assert_eq!(endpoint.received().len(), 1);
    assert!(
        audited(&user)
            .await
            .iter()
            .any(|(action, _)| action == "DisableWebhook")
    );
}

#[rstest]
#[tokio::test]
async fn the_owner_is_told_of_a_disabled_webhook_without_its_url(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = server(engine).await;
    let (user, endpoint) = (
        verified_user(&server).await,
        Endpoint::answering(Answer::status(410)).await,
    );
    let webhook = create(&user, &endpoint).await;
    user.project().await;

    let mail = server.database.mail(&user.email, "Webhook", 1).await;

    assert!(mail.body.contains(&webhook.id), "{}", mail.body);
    assert!(!mail.body.contains(&endpoint.url()), "{}", mail.body);
    // A webhook that its owner disables is no news.
    endpoint.set_answer(Answer::status(200));
    set_disabled(&user, &webhook, false).await;
    wait_for_delivery(&user, &webhook, |one| one.status_code == 200).await;
    let_a_minute_pass(&server).await;
    set_disabled(&user, &webhook, true).await;
    server.database.wait_for_empty_outbox().await;
    assert_eq!(server.database.mails(&user.email, "Webhook").len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_test_returns_the_status_and_the_latency_and_is_not_retried(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = server(engine).await;
    let (user, endpoint) = (server.user().await, Endpoint::start().await);
    endpoint.answer_next(Answer::status(202));
    endpoint.answer_next(Answer::status(500));
    let request = pb::CreateWebhookRequest {
        disabled: true,
        ..create_request(&endpoint)
    };
    let (webhook, _) = create_with(&user, request).await;
    let test = async || {
        let request = pb::TestWebhookRequest {
            webhook_id: webhook.id.clone(),
        };
        let answer = user.client.webhook.clone().test_webhook(request).await;
        answer.unwrap().into_inner()
    };

    let (first, second) = (test().await, test().await);

    assert_eq!((first.status_code, &*first.error), (202, ""));
    assert!(first.latency.is_some());
    assert_eq!(second.status_code, 500);
    assert!(second.error.starts_with("HTTP_STATUS"), "{}", second.error);
    let received = endpoint.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].id(), first.message_id);
    assert_eq!(received[0].event_type(), "webhook.test");
    assert_eq!(received[0].json()["data"]["webhookId"], webhook.id);
    assert!(deliveries(&user, &webhook).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn a_delivery_can_be_sent_again_with_the_same_id_as_long_as_its_event_is_kept(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let webhook = create(&user, &endpoint).await;
    user.project().await;
    let delivery = wait_for_delivery(&user, &webhook, |_| true).await;
    let redeliver = async || {
        let request = pb::RedeliverWebhookRequest {
            delivery_id: delivery.id.clone(),
        };
        user.client.webhook.clone().redeliver_webhook(request).await
    };

    let again = redeliver().await.unwrap().into_inner().delivery.unwrap();

    assert_eq!((again.id, again.attempts), (delivery.id.clone(), 2));
    let received = endpoint.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].id(), received[1].id());
    assert_eq!(received[0].body, received[1].body);

    endpoint.answer_next(Answer::status(500));
    let failed = redeliver().await.unwrap().into_inner().delivery.unwrap();
    assert_eq!(failed.state(), pb::WebhookDeliveryState::Delivered);
    assert_eq!((failed.attempts, failed.status_code), (3, 500));

    server.database.execute("delete from events").await;
    let refusal = crate::harness::refused(redeliver().await);
    let expired = (tonic::Code::FailedPrecondition, "WEBHOOK_EVENT_EXPIRED");
    assert_eq!(refusal.class(), expired);
}
