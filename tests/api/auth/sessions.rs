use std::time::Instant;

use rstest::rstest;
use sluice::proto::v1 as pb;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tonic::{Code, Response, Status};

use super::calls::{
    api_key_request, api_key_token, backdate, comparable, exchange_api_key, get_me, masked,
    new_api_key, new_session, refresh, refreshed,
};
use crate::harness::{
    Client, Engine, Pooled, Postgres, Sqlite, TestServer, User, eventually, refused,
};

async fn list(
    client: &Client,
    page_size: i32,
    page_token: &str,
) -> Result<Response<pb::ListSessionsResponse>, Status> {
    let request = pb::ListSessionsRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    client.auth.clone().list_sessions(request).await
}

async fn sessions(client: &Client) -> Vec<pb::Session> {
    list(client, 0, "").await.unwrap().into_inner().sessions
}

async fn revoke(user: &User, id: &str) -> Result<Response<pb::RevokeSessionResponse>, Status> {
    let request = pb::RevokeSessionRequest {
        session_id: id.to_owned(),
        ..Default::default()
    };
    user.client.auth.clone().revoke_session(request).await
}

#[rstest]
#[tokio::test]
async fn sessions_are_listed_newest_first_and_mark_the_callers(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, _grace) = (server.user().await, server.user().await);
    new_session(&server, &ada).await;
    refreshed(&server.channel, &ada.tokens.refresh_token).await;

    let [newer, own] = &sessions(&ada.client).await[..] else {
        panic!("two sessions");
    };

    assert!(own.current && !newer.current);
    assert!(own.id < newer.id);
    for session in [own, newer] {
        assert_eq!(session.peer_address, "127.0.0.1");
        assert!(session.user_agent.contains("tonic"), "{session:?}");
        assert!(comparable(session.create_time) <= comparable(session.last_used_time));
        assert!(comparable(session.last_used_time) < comparable(session.expire_time));
    }
    assert!(comparable(own.create_time) < comparable(own.last_used_time));
    assert_eq!(newer.create_time, newer.last_used_time);
}

#[rstest]
#[tokio::test]
async fn sessions_are_listed_in_pages(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    for _ in 0..4 {
        new_session(&server, &ada).await;
    }
    let all = sessions(&ada.client).await;

    let first = list(&ada.client, 3, "").await.unwrap().into_inner();
    let token = first.next_page_token;
    let second = list(&ada.client, 3, &token).await.unwrap().into_inner();

    assert_eq!([first.sessions, second.sessions].concat(), all);
    assert_eq!(second.next_page_token, "");
    let refusal = refused(list(&grace.client, 3, &token).await);
    assert_eq!(refusal.fields(), ["page_token"]);
    let refusal = refused(list(&ada.client, -1, "x").await);
    assert_eq!(refusal.fields(), ["page_size", "page_token"]);
}

#[rstest]
#[tokio::test]
async fn ended_and_idle_sessions_are_not_listed(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let flags = ["--session-idle-timeout=1h", "--session-lifetime=1day"];
    let server = TestServer::start_with(engine, &flags).await;
    let ada = server.user().await;
    new_session(&server, &ada).await;
    backdate(&server.database, "sessions", "last_used_time", "2 hours").await;
    let fresh = new_session(&server, &ada).await;

    let client = Client::with_token(&server.channel, &fresh.access_token);
    let listed = sessions(&client).await;
    assert_eq!(listed.len(), 1);

    revoke(&ada, &listed[0].id).await.unwrap();
    assert_eq!(sessions(&ada.client).await, []);
}

#[rstest]
#[tokio::test]
async fn a_revoked_session_ends_with_its_tokens_and_the_others_continue(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let stolen = new_session(&server, &ada).await;
    let id = &sessions(&ada.client).await[0].id;

    revoke(&ada, id).await.unwrap();

    let client = Client::with_token(&server.channel, &stolen.access_token);
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refused(get_me(&client).await).class(), class);
    let refusal = refused(refresh(&server.channel, &stolen.refresh_token).await);
    let class = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    assert_eq!(refusal.class(), class);
    get_me(&ada.client).await.unwrap();
    refreshed(&server.channel, &ada.tokens.refresh_token).await;
}

#[rstest]
#[tokio::test]
async fn the_session_of_another_user_is_not_found_like_a_nonexistent_one(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (hers, unknown) = (
        &sessions(&grace.client).await[0].id,
        "01890a5d-ac96-774b-bcce-b302099a8057",
    );

    let refusal = refused(revoke(&ada, hers).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    let other = refused(revoke(&ada, unknown).await);
    assert_eq!(masked(&refusal, hers), masked(&other, unknown));
    get_me(&grace.client).await.unwrap();

    for bad in ["", "1", "not-a-uuid"] {
        assert_eq!(refused(revoke(&ada, bad).await).fields(), ["session_id"]);
    }
}

/// The seconds until a replica refuses the token of a client.
async fn until_refused(client: &Client) -> f64 {
    let begun = Instant::now();
    eventually("the token is refused", async || {
        let refusal = get_me(client).await.err()?;
        assert_eq!(refusal.code(), Code::Unauthenticated);
        Some(())
    })
    .await;
    begun.elapsed().as_secs_f64()
}

/// Predecessor's defect G9: a token worked for seven days, whatever happened.
#[rstest]
#[tokio::test]
async fn an_ended_sessions_access_token_is_refused_by_every_replica_within_five_seconds(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;
    let ada = server.user().await;
    let there = Client::with_token(&replica, &ada.tokens.access_token);
    get_me(&there).await.unwrap();

    let own = &sessions(&ada.client).await[0].id;
    revoke(&ada, own).await.unwrap();

    refused(get_me(&ada.client).await);
    assert!(until_refused(&there).await < 5.0);
    // A replica that starts later refuses it too.
    let late = Client::with_token(&server.replica().await, &ada.tokens.access_token);
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refused(get_me(&late).await).class(), class);
}

#[rstest]
#[tokio::test]
async fn a_revoked_keys_access_token_is_refused_by_every_replica_within_five_seconds(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;
    let ada = server.user().await;
    let (created, secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let token = api_key_token(&server, &secret).await;
    let call = async |channel| {
        let mut client = Client::with_token(channel, &token);
        let request = pb::ListPlatformsRequest::default();
        client.project.list_platforms(request).await
    };
    call(&replica).await.unwrap();

    let request = pb::RevokeApiKeyRequest {
        api_key_id: created.id,
        ..Default::default()
    };
    let mut auth = ada.client.auth.clone();
    auth.revoke_api_key(request).await.unwrap();

    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refused(call(&server.channel).await).class(), class);
    let begun = Instant::now();
    eventually("the token is refused", async || {
        call(&replica).await.is_err().then_some(())
    })
    .await;
    assert!(begun.elapsed().as_secs_f64() < 5.0);
    refused(exchange_api_key(&replica, &secret).await);
}

/// A commit can take long, for example while it waits for a synchronous standby.
#[tokio::test]
async fn a_revocation_that_commits_long_after_its_time_reaches_every_replica() {
    let server = TestServer::start(Postgres).await;
    let replica = server.replica().await;
    let (ada, ben) = (server.user().await, server.user().await);
    let there = |user: &User| Client::with_token(&replica, &user.tokens.access_token);
    let mut late = PgConnection::connect(&server.database.url).await.unwrap();
    let revocation = format!(
        "begin;
         update sessions set revoke_time = now() - interval '1 hour' where user_id = '{0}';
         insert into revocations (id, revoke_time)
         select id, revoke_time from sessions where user_id = '{0}'",
        ada.user.id
    );
    let revocation = sqlx::raw_sql(AssertSqlSafe(revocation));
    revocation.execute(&mut late).await.unwrap();

    // Both replicas read the revocations in the meantime.
    let mut auth = ben.client.auth.clone();
    auth.sign_out(pb::SignOutRequest::default()).await.unwrap();
    until_refused(&there(&ben)).await;
    get_me(&there(&ada)).await.unwrap();
    sqlx::raw_sql("commit").execute(&mut late).await.unwrap();

    let (here, there) = (ada.client.clone(), there(&ada));
    let seconds = tokio::join!(until_refused(&here), until_refused(&there));
    assert!(seconds.0 < 5.0 && seconds.1 < 5.0, "{seconds:?}");
}
