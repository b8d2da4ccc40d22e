use std::slice;

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::fixture::Fixture;
use crate::{
    auth::calls::{
        api_key_request, exchange_api_key, get_me, new_api_key, new_session, refresh, sign_in,
    },
    contract::dump::dump,
    harness::{Client, Engine, MediaServer, Postgres, Sqlite, User, eventually, exchange, refused},
    relay::fixture::{Worker, broadcasting_report, destination_request},
};

const SUSPENDED: (Code, &str) = (Code::PermissionDenied, "ACCOUNT_SUSPENDED");
const INVALID_TOKEN: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");

/// Waits until a stream has ended; returns it as operators of the media server see it.
async fn stopped(media: &MediaServer, stream: &pb::Stream, connection: &str) -> pb::Stream {
    eventually("the media server is told to stop", async || {
        let answer = media.heartbeat(stream, connection).await;
        (answer.action() == pb::PublishAction::Stop).then(|| {
            assert_eq!(answer.stop_reason(), pb::EndReason::AccountSuspended);
            answer.stream.unwrap()
        })
    })
    .await
}

async fn events_of(fixture: &Fixture, user: &User) -> Vec<(String, String, String)> {
    let request = pb::OperatorServiceListAuditEventsRequest {
        user_id: user.user.id.clone(),
        ..Default::default()
    };
    let events = fixture.events(request).await.into_iter().map(|entry| {
        let event = entry.event.unwrap();
        (event.action, event.result, event.api_key_id)
    });
    events.collect()
}

#[rstest]
#[tokio::test]
async fn a_suspended_user_cannot_sign_in_even_with_the_correct_password(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let ada = server.user().await;

    let suspended = fixture.suspend(&ada.user.id).await.unwrap().into_inner();

    let account = suspended.user.unwrap();
    assert_eq!(account.state(), pb::UserState::Suspended);
    assert!(account.suspend_time.is_some());
    // More often than wrong passwords would be allowed without a wait.
    for _ in 0..7 {
        let refusal = refused(sign_in(&server.channel, &ada.email, ada.password).await);
        assert_eq!(refusal.class(), SUSPENDED);
    }
    let wrong = refused(sign_in(&server.channel, &ada.email, "a wrong password").await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(wrong.class(), class);
    let query = "select count(*) from sessions where revoke_time is null";
    assert_eq!(server.database.number(query).await, 0);
    let events = events_of(&fixture, &ada).await;
    assert_eq!(events[0].1, "CREDENTIALS_INVALID");
    for event in &events[1..8] {
        let (action, result, _) = event;
        assert_eq!((&**action, &**result), ("SignIn", "ACCOUNT_SUSPENDED"));
    }
    let suspended = (
        "SuspendUser".to_owned(),
        "OK".to_owned(),
        fixture.key_id.clone(),
    );
    assert_eq!(events[8], suspended);
}

#[rstest]
#[tokio::test]
async fn sessions_and_api_keys_of_a_suspended_user_end_on_every_replica(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let (ada, grace) = (server.user().await, server.user().await);
    let other = new_session(server, &ada).await;
    let (_, secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let program = exchange(&server.channel, &secret).await;
    let replica = server.replica().await;

    fixture.suspend(&ada.user.id).await.unwrap();

    assert_eq!(refused(get_me(&ada.client).await).class(), INVALID_TOKEN);
    for channel in [&server.channel, &replica] {
        eventually("the replica refuses all tokens", async || {
            let session = get_me(&Client::with_token(channel, &other.access_token)).await;
            let mut program = Client::with_token(channel, &program).project;
            let listed = program.list_projects(pb::ListProjectsRequest::default());
            let refused = [session.err()?.code(), listed.await.err()?.code()];
            (refused == [Code::Unauthenticated; 2]).then_some(())
        })
        .await;
    }
    for tokens in [&ada.tokens, &other] {
        let refusal = refused(refresh(&server.channel, &tokens.refresh_token).await);
        let class = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(refusal.class(), class);
    }
    let refusal = refused(exchange_api_key(&server.channel, &secret).await);
    let class = (Code::Unauthenticated, "API_KEY_INVALID");
    assert_eq!(refusal.class(), class);
    get_me(&grace.client).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn streams_and_relays_of_a_suspended_user_end_and_new_publishers_are_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let (ada, grace) = (server.user().await, server.user().await);
    let media = server.media_server().await;
    let workers = server.operator(&[Scope::RelaysWork]).await;
    let window = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    let (project, key) = ada
        .project_with(pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: window,
            ..Default::default()
        })
        .await;
    let mut projects = ada.client.project.clone();
    let destination = destination_request(&project, "main");
    projects.create_destination(destination).await.unwrap();
    let live = media.live(&key, "c1").await;
    let mut worker = Worker::claim(&workers, "w1", "", 10).await;
    let assignment = worker.next_assignments(1).await.remove(0);
    worker
        .expect_accepted(broadcasting_report(&assignment, 1))
        .await;
    let (_, reconnecting_key) = ada
        .project_with(pb::CreateProjectRequest {
            display_name: "Reconnecting".to_owned(),
            reconnect_window: window,
            ..Default::default()
        })
        .await;
    let reconnecting = media.live(&reconnecting_key, "c2").await;
    media.end(&reconnecting, "c2").await;
    let (_, others_key) = grace.project().await;
    let others = media.live(&others_key, "c3").await;

    fixture.suspend(&ada.user.id).await.unwrap();

    let ended = stopped(&media, &live, "c1").await;
    assert_eq!(ended.state(), pb::StreamState::Ended);
    assert_eq!(
        worker.next_revocations().await,
        slice::from_ref(&assignment.lease_id)
    );
    let refusal = refused(media.begin(&key, "c4").await);
    assert_eq!(refusal.class(), SUSPENDED);
    eventually(
        "the stream that waits for its publisher ends, too",
        async || {
            let live = fixture
                .live_streams(pb::ListLiveStreamsRequest::default())
                .await;
            let ids: Vec<_> = live.into_iter().map(|one| one.stream.unwrap().id).collect();
            (ids == [others.id.clone()]).then_some(())
        },
    )
    .await;
    let continues = media.heartbeat(&others, "c3").await;
    assert_eq!(continues.action(), pb::PublishAction::Continue);
}

/// The transaction of a publisher may have begun before the suspension was committed.
#[rstest]
#[tokio::test]
async fn a_stream_that_began_during_the_suspension_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let media = fixture.server.media_server().await;
    let (_, key) = ada.project().await;
    let live = media.live(&key, "c1").await;

    let statement = "update users set suspend_time = create_time";
    fixture.server.database.execute(statement).await;

    stopped(&media, &live, "c1").await;
}

#[rstest]
#[tokio::test]
async fn a_node_is_told_to_disconnect_publishers_of_a_suspended_user(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let mut media = fixture.server.media_server().await.client;
    let (_, stream_key) = ada.project().await;
    fixture.suspend(&ada.user.id).await.unwrap();

    let request = pb::SyncNodeRequest {
        node_id: "n1".to_owned(),
        boot_id: "b1".to_owned(),
        connections: vec![pb::NodeConnection {
            connection_id: "c1".to_owned(),
            stream_key,
            ..Default::default()
        }],
    };
    let answer = media.stream.sync_node(request).await.unwrap().into_inner();

    assert_eq!(answer.kicks.len(), 1);
    assert_eq!(answer.kicks[0].reason(), pb::EndReason::AccountSuspended);
}

#[rstest]
#[tokio::test]
async fn a_resumed_user_signs_in_and_publishes_again_but_ended_sessions_stay_ended(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let ada = server.user().await;
    let media = server.media_server().await;
    let (project, key) = ada.project().await;
    fixture.suspend(&ada.user.id).await.unwrap();
    assert_eq!(refused(media.begin(&key, "c1").await).class(), SUSPENDED);

    let resumed = fixture.resume(&ada.user.id).await.unwrap().into_inner();

    let account = resumed.user.unwrap();
    assert_eq!(account.state(), pb::UserState::Active);
    assert_eq!(account.suspend_time, None);
    assert_eq!(refused(get_me(&ada.client).await).class(), INVALID_TOKEN);
    let refusal = refused(refresh(&server.channel, &ada.tokens.refresh_token).await);
    assert_eq!(refusal.code, Code::Unauthenticated);
    let tokens = new_session(server, &ada).await;
    media.live(&key, "c2").await;
    // The owner sees why the publisher was refused meanwhile.
    let mut client = Client::with_token(&server.channel, &tokens.access_token);
    let request = pb::ListRefusalsRequest {
        project_id: project.id,
        ..Default::default()
    };
    let listed = client.stream.list_refusals(request).await.unwrap();
    let refusals = listed.into_inner().refusals;
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason(), pb::ErrorReason::AccountSuspended);
    let events = events_of(&fixture, &ada).await;
    let resumed = (
        "ResumeUser".to_owned(),
        "OK".to_owned(),
        fixture.key_id.clone(),
    );
    assert!(events.contains(&resumed), "{events:?}");
}

#[rstest]
#[tokio::test]
async fn suspending_and_resuming_twice_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;

    let first = fixture.suspend(&ada.user.id).await.unwrap().into_inner();
    let before = dump(&fixture.server.database).await;
    let again = fixture.suspend(&ada.user.id).await.unwrap().into_inner();
    assert_eq!(again, first);
    assert_eq!(dump(&fixture.server.database).await, before);

    fixture.resume(&ada.user.id).await.unwrap();
    let before = dump(&fixture.server.database).await;
    fixture.resume(&ada.user.id).await.unwrap();
    assert_eq!(dump(&fixture.server.database).await, before);
}
