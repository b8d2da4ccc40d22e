use sluice::proto::v1 as pb;
use sqlx::Connection;
use sqlx_sqlite::SqliteConnection;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{
    Client, DatabaseReuse, Pooling, Postgres, Proxy, Sqlite, TestDatabase, TestServer, eventually,
    refused,
};

#[tokio::test]
async fn calls_are_unavailable_during_a_database_outage_and_served_after_it() {
    let (database, mut proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
    let server = TestServer::start_on(database, &["--db-acquire-timeout=2s"]).await;
    let mut ada = server.user().await.client;
    ada.auth.get_me(pb::GetMeRequest {}).await.unwrap();

    proxy.disconnect().await;
    let refusal = refused(ada.auth.get_me(pb::GetMeRequest {}).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    let refusal = refused(
        server
            .anonymous()
            .auth
            .sign_in(pb::SignInRequest {
                email: "ada@example.com".to_owned(),
                password: "correct horse battery".to_owned(),
                ..Default::default()
            })
            .await,
    );
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    server.wait_for_health(ServingStatus::NotServing).await;

    proxy.reconnect().await;
    eventually("calls are served again", async || {
        ada.auth.get_me(pb::GetMeRequest {}).await.ok()
    })
    .await;
    server.wait_for_health(ServingStatus::Serving).await;
}

#[tokio::test]
async fn a_server_started_before_its_database_serves_once_it_is_reachable() {
    let (database, mut proxy) = Proxy::to_database(TestDatabase::empty(Postgres).await).await;
    proxy.disconnect().await;
    let url = database.url.clone();
    let server = crate::harness::Process::serve(
        &database,
        &[
            ("DATABASE_URL", &url),
            ("SLUICE_DB_ACQUIRE_TIMEOUT", "200ms"),
        ],
    );
    let address = format!("http://{}", server.address().await);
    let channel = tonic::transport::Endpoint::from_shared(address)
        .unwrap()
        .connect_lazy();
    let mut anonymous = Client::anonymous(&channel);

    let refusal = refused(anonymous.auth.get_jwks(pb::GetJwksRequest {}).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "STARTING"));
    let mut client = HealthClient::new(channel.clone());
    let answer = client
        .check(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);

    proxy.reconnect().await;
    server.channel().await;
    anonymous
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await
        .unwrap();
}

/// Predecessor's defect G5: a stream stayed live for ever, or ended with the control plane.
#[tokio::test]
async fn streams_survive_a_database_outage() {
    let database = TestDatabase::create(Postgres).await;
    let direct = TestDatabase {
        url: database.url.clone(),
        directory: tempfile::tempdir().unwrap(),
        reuse: DatabaseReuse::disabled(),
        pooling: Pooling::Environment,
    };
    let (database, mut proxy) = Proxy::to_database(database).await;
    let quick = [
        "--db-acquire-timeout=2s",
        "--heartbeat-interval=200ms",
        "--heartbeat-timeout=1s",
    ];
    let server = TestServer::start_on(database, &quick).await;
    let (ada, media) = (server.user().await, server.media_server().await);
    let (_, key) = ada.project().await;
    let stream = media.live(&key, "c1").await;

    proxy.disconnect().await;
    eventually(
        "the stream has been silent for longer than it may be",
        async || {
            let silent = "select count(*) from streams
                      where last_seen_time < now() - interval '1500 milliseconds'";
            (direct.number(silent).await == 1).then_some(())
        },
    )
    .await;
    proxy.reconnect().await;

    let answer = eventually("the media server reports again", async || {
        let request = pb::HeartbeatPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: stream.publisher.clone(),
            stats: None,
        };
        Some(
            media
                .client
                .stream
                .clone()
                .heartbeat_publish(request)
                .await
                .ok()?
                .into_inner(),
        )
    })
    .await;
    assert_eq!(answer.action(), pb::PublishAction::Continue);
    assert_eq!(ada.stream(&stream.id).await.state(), pb::StreamState::Live);
}

#[tokio::test]
async fn a_write_is_unavailable_while_another_process_holds_the_lock() {
    let server = TestServer::start(Sqlite).await;
    let mut ada = server.user().await.client;
    let mut other = SqliteConnection::connect(&server.database.url)
        .await
        .unwrap();
    sqlx::raw_sql("begin exclusive")
        .execute(&mut other)
        .await
        .unwrap();

    let update = pb::UpdateMeRequest {
        display_name: Some("Ada".to_owned()),
        ..Default::default()
    };
    let refusal = refused(ada.auth.update_me(update.clone()).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));

    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    ada.auth.update_me(update).await.unwrap();
}
