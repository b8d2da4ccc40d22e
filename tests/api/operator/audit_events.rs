use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};

use super::fixture::{Fixture, key_request};
use crate::{
    auth::calls::{backdate, new_session},
    harness::{Client, Engine, Postgres, Sqlite},
};

/// The actions of events, newest first.
fn actions(events: &[pb::OperatorAuditEvent]) -> Vec<&str> {
    let events = events.iter().map(|entry| entry.event.as_ref().unwrap());
    events.map(|event| &*event.action).collect()
}

#[rstest]
#[tokio::test]
async fn every_action_of_an_operator_names_the_key_and_its_target(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let (key, _) = fixture.create(key_request(&[Scope::StreamsPublish])).await;
    fixture.suspend(&ada.user.id).await.unwrap();
    fixture.resume(&ada.user.id).await.unwrap();
    fixture.revoke(&key.id, false).await;

    let request = pb::OperatorServiceListAuditEventsRequest {
        operator_key_id: fixture.key_id.clone(),
        ..Default::default()
    };
    let events = fixture.events(request).await;

    let expected = [
        "RevokeOperatorKey",
        "ResumeUser",
        "SuspendUser",
        "CreateOperatorKey",
    ];
    assert_eq!(actions(&events), expected);
    let targets = [
        ("", &*key.id),
        (&*ada.user.id, ""),
        (&*ada.user.id, ""),
        ("", &*key.id),
    ];
    for (entry, (user_id, resource_id)) in events.iter().zip(targets) {
        let event = entry.event.as_ref().unwrap();
        assert_eq!(event.api_key_id, fixture.key_id);
        assert_eq!(entry.operator_key_display_name, "operator");
        assert_eq!(event.result, "OK");
        assert_eq!(
            (&*entry.user_id, &*event.resource_id),
            (user_id, resource_id)
        );
        assert_ne!(event.peer_address, "");
    }
}

#[rstest]
#[tokio::test]
async fn the_log_still_names_a_revoked_key(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    fixture.suspend(&ada.user.id).await.unwrap();
    let reader = fixture.server.operator(&[Scope::OperatorRead]).await;
    fixture.revoke(&fixture.key_id, false).await;

    let request = pb::OperatorServiceListAuditEventsRequest {
        action: "SuspendUser".to_owned(),
        ..Default::default()
    };
    let answer = reader.operator.clone().list_audit_events(request).await;

    let events = answer.unwrap().into_inner().audit_events;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].operator_key_display_name, "operator");
}

#[rstest]
#[tokio::test]
async fn the_user_sees_the_suspension_in_the_own_audit_log(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    fixture.suspend(&ada.user.id).await.unwrap();
    fixture.resume(&ada.user.id).await.unwrap();

    let tokens = new_session(&fixture.server, &ada).await;
    let mut client = Client::with_token(&fixture.server.channel, &tokens.access_token);
    let request = pb::ListAuditEventsRequest::default();
    let events = client.auth.list_audit_events(request).await.unwrap();

    let events = events.into_inner().audit_events;
    let suspended = events.iter().find(|event| event.action == "SuspendUser");
    assert_eq!(suspended.unwrap().api_key_id, fixture.key_id);
}

#[rstest]
#[tokio::test]
async fn a_list_of_audit_events_is_filtered_by_user_action_and_time(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let grace = fixture.server.user().await;
    new_session(&fixture.server, &ada).await;
    let all = fixture
        .events(pb::OperatorServiceListAuditEventsRequest::default())
        .await;
    let user = |id: &str| pb::OperatorServiceListAuditEventsRequest {
        user_id: id.to_owned(),
        ..Default::default()
    };

    let of_ada = fixture.events(user(&ada.user.id)).await;
    assert!(of_ada.iter().all(|entry| entry.user_id == ada.user.id));
    assert!(actions(&of_ada).contains(&"SignUp"));
    let of_grace = fixture.events(user(&grace.user.id)).await;
    // One is the creation of the operator's key, which concerns no account.
    assert_eq!(all.len(), of_ada.len() + of_grace.len() + 1);

    let signed_up = pb::OperatorServiceListAuditEventsRequest {
        action: "SignUp".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        actions(&fixture.events(signed_up.clone()).await),
        ["SignUp"; 2]
    );
    let signed_up_ada = pb::OperatorServiceListAuditEventsRequest {
        user_id: ada.user.id.clone(),
        ..signed_up
    };
    assert_eq!(fixture.events(signed_up_ada).await.len(), 1);

    let newest = all[0].event.as_ref().unwrap().create_time;
    let before = pb::OperatorServiceListAuditEventsRequest {
        created_before: newest,
        ..Default::default()
    };
    assert_eq!(fixture.events(before).await, all[1..]);
    backdate(
        &fixture.server.database,
        "audit_events",
        "create_time",
        "2 hours",
    )
    .await;
    let after = pb::OperatorServiceListAuditEventsRequest {
        created_after: newest,
        ..Default::default()
    };
    assert_eq!(fixture.events(after).await, []);
}
