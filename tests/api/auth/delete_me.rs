use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::calls::{
    api_key_request, exchange_api_key, get_me, new_api_key, new_session, refresh, sign_in,
};
use crate::{
    harness::{
        Client, Engine, MediaServer, Pooled, Postgres, Sqlite, TestServer, User, eventually,
        refused,
    },
    project::fixtures::{ROWS_WITH_OWNERS_DATA, create_destination, youtube_destination},
};

async fn delete_me(user: &User, password: &str) -> Result<Response<pb::DeleteMeResponse>, Status> {
    let request = pb::DeleteMeRequest {
        password: password.to_owned(),
    };
    user.client.auth.clone().delete_me(request).await
}

/// A live project with a destination, and an API key that is restricted to it.
async fn live_project(server: &TestServer, user: &User) -> (pb::Stream, String) {
    let (project, stream_key) = user.project().await;
    create_destination(user, youtube_destination(&project)).await;
    let request = pb::CreateApiKeyRequest {
        project_ids: vec![project.id],
        ..api_key_request(&["projects:read"])
    };
    let (_, secret) = new_api_key(user, request).await;
    let media = server.media_server().await;
    let answer = media.begin(&stream_key, "c1").await.unwrap().into_inner();
    (answer.stream.unwrap(), secret)
}

#[rstest]
#[tokio::test]
async fn an_account_is_deleted_with_everything_that_belongs_to_it(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (stream, secret) = live_project(&server, &ada).await;
    let (kept, _) = live_project(&server, &grace).await;
    let other = new_session(&server, &ada).await;

    delete_me(&ada, ada.password).await.unwrap();

    let of_users = "select count(*) from api_keys where user_id is not null";
    assert_eq!(server.database.number(of_users).await, 1);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    let refusal = refused(sign_in(&server.channel, &ada.email, ada.password).await);
    assert_eq!(refusal.class(), class);
    refused(refresh(&server.channel, &ada.tokens.refresh_token).await);
    refused(exchange_api_key(&server.channel, &secret).await);
    for token in [&ada.tokens.access_token, &other.access_token] {
        let client = Client::with_token(&server.channel, token);
        let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
        assert_eq!(refused(get_me(&client).await).class(), class);
    }
    // Its media server stops; the stream of the other user continues.
    let media = server.media_server().await;
    let heartbeat = |stream: &pb::Stream| pb::HeartbeatPublishRequest {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        publisher: Some(MediaServer::connection("c1")),
        stats: None,
    };
    let mut client = media.client.stream.clone();
    let not_found = (Code::NotFound, "RESOURCE_NOT_FOUND");
    match client.heartbeat_publish(heartbeat(&stream)).await {
        Ok(answer) => assert_eq!(answer.into_inner().action(), pb::PublishAction::Stop),
        // The row is deleted already.
        Err(status) => assert_eq!(refused::<()>(Err(status)).class(), not_found),
    }
    client.heartbeat_publish(heartbeat(&kept)).await.unwrap();
    for (table, left) in [
        ("users", 1),
        ("sessions", 1),
        ("projects", 1),
        ("destinations", 1),
        ("streams", 1),
        ("api_key_projects", 1),
    ] {
        let count = format!("select count(*) from {table}");
        eventually("its rows are deleted", async || {
            (server.database.number(&count).await == left).then_some(())
        })
        .await;
    }
    let refusal = refused(client.heartbeat_publish(heartbeat(&stream)).await);
    assert_eq!(refusal.class(), not_found);
    client.heartbeat_publish(heartbeat(&kept)).await.unwrap();
}

/// The rows are deleted later. Nothing of the person is left in them meanwhile.
#[rstest]
#[tokio::test]
async fn a_deleted_account_holds_nothing_of_its_person(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, database) = (server.user().await, &server.database);
    new_session(&server, &ada).await;
    database
        .keep_rows("sessions", "user_id", &ada.user.id)
        .await;
    let personal = "select (select count(*) from users
                            where email <> '' or email_key like '%@%' or display_name <> ''
                               or password_hash is not null)
                         + (select count(*) from sessions
                            where peer_address <> '' or user_agent <> ''
                               or length(refresh_seed) > 0)";
    assert_eq!(database.number(personal).await, 3);

    delete_me(&ada, ada.password).await.unwrap();

    assert_eq!(database.number(personal).await, 0);
    let rows = "select (select count(*) from users) + (select count(*) from sessions)";
    assert_eq!(database.number(rows).await, 3);
}

/// Its projects may be many, so that they are not marked in the transaction of the account.
#[rstest]
#[tokio::test]
async fn the_projects_of_a_deleted_account_lose_names_addresses_and_keys_before_their_rows(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, database) = (server.user().await, &server.database);
    let (project, _) = ada.project().await;
    create_destination(&ada, youtube_destination(&project)).await;
    database
        .keep_rows("destinations", "project_id", &project.id)
        .await;
    assert_eq!(database.number(ROWS_WITH_OWNERS_DATA).await, 2);

    delete_me(&ada, ada.password).await.unwrap();

    eventually("what the owner entered is erased", async || {
        (database.number(ROWS_WITH_OWNERS_DATA).await == 0).then_some(())
    })
    .await;
    let rows = "select (select count(*) from projects) + (select count(*) from destinations)";
    assert_eq!(database.number(rows).await, 2);
}

#[rstest]
#[tokio::test]
async fn an_account_with_200_000_streams_is_deleted_at_once_while_others_write(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    // To empty the database for another test would take too long.
    server.database.reuse.record("truncate");
    let (ada, grace) = (server.user().await, server.user().await);
    let (stream, _) = live_project(&server, &ada).await;
    fill_with_streams(&server, &stream.project_id, 200_000).await;

    delete_me(&ada, ada.password).await.unwrap();

    let streams = "select count(*) from streams";
    assert!(server.database.number(streams).await > 0);
    eventually("hundreds of rows are deleted", async || {
        grace.project().await;
        (server.database.number(streams).await < 199_800).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn rows_that_cannot_be_deleted_do_not_keep_those_of_other_accounts(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (stuck, _) = live_project(&server, &ada).await;
    live_project(&server, &grace).await;
    let database = &server.database;
    database
        .keep_rows("streams", "project_id", &stuck.project_id)
        .await;

    delete_me(&ada, ada.password).await.unwrap();
    delete_me(&grace, grace.password).await.unwrap();

    for table in ["users", "projects", "streams"] {
        let count = format!("select count(*) from {table}");
        eventually("the others are deleted", async || {
            (server.database.number(&count).await == 1).then_some(())
        })
        .await;
    }
}

/// Adds ended streams to a project, each with an event.
async fn fill_with_streams(server: &TestServer, project_id: &str, count: u32) {
    let is_sqlite = server.database.url.starts_with("sqlite:");
    let (id, new_id, numbers) = match is_sqlite {
        true => (
            format!("unhex('{}')", project_id.replace('-', "")),
            "randomblob(16)",
            format!(
                "(with recursive numbers (n) as (
                      select 1 union all select n + 1 from numbers where n < {count})
                  select n from numbers) as numbers"
            ),
        ),
        false => (
            format!("'{project_id}'::uuid"),
            "gen_random_uuid()",
            format!("generate_series(1, {count}) as numbers (n)"),
        ),
    };
    let time = "'2026-01-01T00:00:00+00:00'";
    let streams = format!(
        "insert into streams
             (id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
              protocol, connected, create_time, last_seen_time, end_time, end_reason)
         select {new_id}, {id}, 'ended', 1, 'n1', 'b1', 'filled', '', 'rtmp', false,
                {time}, {time}, {time}, 'publisher_ended'
         from {numbers}"
    );
    let events = format!(
        "insert into events (project_id, revision, create_time, change)
         select {id}, n + 1000000, {time}, '{{}}' from {numbers}"
    );
    for statement in [streams, events] {
        server.database.execute(&statement).await;
    }
}

#[rstest]
#[tokio::test]
async fn the_address_can_be_used_for_a_new_account(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    delete_me(&ada, ada.password).await.unwrap();

    let request = pb::SignUpRequest {
        email: ada.email.clone(),
        password: "seven angry badgers rowing".to_owned(),
        display_name: "Ada again".to_owned(),
        request_id: String::new(),
    };
    let answer = server.anonymous().auth.sign_up(request).await.unwrap();

    assert_ne!(answer.into_inner().user.unwrap().id, ada.user.id);
}

#[rstest]
#[tokio::test]
async fn the_password_is_required(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let refusal = refused(delete_me(&ada, "wrong horse").await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), class);
    for bad in ["", "a\0", &"x".repeat(72)] {
        assert_eq!(refused(delete_me(&ada, bad).await).fields(), ["password"]);
    }

    get_me(&ada.client).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_deletion_in_progress_fails_when_the_password_changes(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--bcrypt-cost=12"]).await;
    let ada = server.user().await;
    let mut auth = ada.client.auth.clone();
    let password = ada.password.to_owned();
    let request = pb::DeleteMeRequest { password };
    let in_progress = tokio::spawn(async move { auth.delete_me(request).await });
    eventually("the attempt is counted", async || {
        let counted = "select count(*) from guesses where familiar_until is null";
        (server.database.number(counted).await == 1).then_some(())
    })
    .await;

    let change = "update users set password_hash =
                      '$2b$10$fVH8e28OQRj9tqiDXs1e1uxpsjN0c7II7YPKXua2NAKYvM6iQk7dq'";
    server.database.execute(change).await;

    let refusal = refused(in_progress.await.unwrap());
    let lost = [
        (Code::Aborted, "CONCURRENT_CHANGE"),
        (Code::Unauthenticated, "CREDENTIALS_INVALID"),
    ];
    assert!(lost.contains(&refusal.class()), "{refusal:?}");
    get_me(&ada.client).await.unwrap();
}
